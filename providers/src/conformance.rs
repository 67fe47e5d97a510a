//! What every provider must do, as cases that run against a real one.
//!
//! The engine relies on the contract of [`DnsProvider`] without asking which provider it has: values at one name live side by
//! side, adding and removing are idempotent, a batch answers for each change. Each case writes below a base name that nobody
//! uses, looks at the result from outside through [`Options::read`], and removes exactly what it wrote, whatever happened.

mod bench;

use std::fmt;
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::time::Duration;
use std::time::Instant;

use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtValue;
use tokio_util::sync::CancellationToken;

use crate::conformance::bench::Bench;

/// Runs every case, one after the other.
pub async fn run(provider: &dyn DnsProvider, options: &Options<'_>) -> Vec<CaseResult> {
    run_each(provider, options, |_| ControlFlow::Continue(())).await
}

/// The same, telling each result as it comes; no further case begins after a break.
pub async fn run_each(
    provider: &dyn DnsProvider,
    options: &Options<'_>,
    tell: impl FnMut(&CaseResult) -> ControlFlow<()>,
) -> Vec<CaseResult> {
    play(provider, options, &Peculiar::default(), &Case::ALL, tell).await
}

/// The same with what not every provider has, and with the cases that need it.
pub async fn run_with(
    provider: &dyn DnsProvider,
    options: &Options<'_>,
    peculiar: &Peculiar<'_>,
    tell: impl FnMut(&CaseResult) -> ControlFlow<()>,
) -> Vec<CaseResult> {
    let cases: Vec<Case> = Case::every().collect();
    play(provider, options, peculiar, &cases, tell).await
}

async fn play(
    provider: &dyn DnsProvider,
    options: &Options<'_>,
    peculiar: &Peculiar<'_>,
    cases: &[Case],
    mut tell: impl FnMut(&CaseResult) -> ControlFlow<()>,
) -> Vec<CaseResult> {
    let mut results = Vec::with_capacity(cases.len());
    let mut silence = Silence::default();
    let mut loses_values = false;
    for &case in cases {
        let began = Instant::now();
        let risk = (case == Case::Apex && loses_values).then(|| AT_RISK.to_owned());
        let (outcome, left) = match silence.is_over().or(risk) {
            Some(why) => (Outcome::NotTried(why), Vec::new()),
            None => {
                let mut bench = Bench::new(provider, options, peculiar, case);
                let ended = tokio::select! {
                    biased;
                    () = stopped(peculiar) => None,
                    ended = play_one(&mut bench, case) => Some(ended),
                };
                match ended {
                    Some((verdict, left)) => {
                        silence.hear(&verdict);
                        loses_values |= case.is_about_values() && is_failure(&verdict);
                        (verdict.into(), left)
                    }
                    None => {
                        let why = "it was told to stop".to_owned();
                        (Outcome::NotTried(why), bench.leave(LAST_MINUTE).await)
                    }
                }
            }
        };
        let result = CaseResult {
            name: case.name(),
            outcome,
            left,
            took: began.elapsed(),
        };
        let flow = tell(&result);
        results.push(result);
        if flow.is_break() || peculiar.stop.is_some_and(CancellationToken::is_cancelled) {
            break;
        }
    }
    results
}

/// One case, with what is left of it.
async fn play_one(bench: &mut Bench<'_>, case: Case) -> (Played, Vec<(DomainName, TxtValue)>) {
    let verdict = bench.play(case).await;
    let cleaned = bench.clean().await;
    // The case's own verdict says more than that of the cleaning.
    let (left, gone) = match bench.left().await {
        Ok(left) if left.is_empty() => (left, Ok(())),
        Ok(left) => {
            let reason = still_there(&left);
            (left, Err(Verdict::Fail(reason)))
        }
        Err(verdict) => (Vec::new(), Err(verdict)),
    };
    (verdict.and(cleaned).and(gone), left)
}

/// Comes back when no more is to be tried.
async fn stopped(peculiar: &Peculiar<'_>) {
    match peculiar.stop {
        Some(stop) => stop.cancelled().await,
        None => std::future::pending().await,
    }
}

/// Whether anything ever came from the provider. Where nothing does, each further case takes minutes, and tells nothing new.
#[derive(Debug, Default)]
struct Silence {
    answered: bool,
    last: String,
    times: usize,
}

impl Silence {
    fn hear(&mut self, verdict: &Played) {
        match verdict {
            Err(Verdict::NoAnswer(reason)) => {
                self.times += 1;
                self.last.clone_from(reason);
            }
            // Some cases find out that they need not ask.
            Err(Verdict::NotSupported(_)) => {}
            Ok(()) | Err(Verdict::Fail(_)) => self.answered = true,
        }
    }

    /// Why nothing more is tried.
    fn is_over(&self) -> Option<String> {
        (!self.answered && self.times >= GIVEN_UP)
            .then(|| format!("no call before has had an answer: {}", self.last))
    }
}

fn is_failure(verdict: &Played) -> bool {
    matches!(verdict, Err(Verdict::Fail(_) | Verdict::NoAnswer(_)))
}

/// Why nothing is written where others have values.
const AT_RISK: &str =
    "other cases have failed, and at the apex it might take values of others with it";
/// Cases without an answer, from the first.
const GIVEN_UP: usize = 2;
/// What is left of the time when somebody has asked to stop.
const LAST_MINUTE: Duration = Duration::from_secs(5);

/// The names of all cases, in the order they run.
pub fn cases() -> impl Iterator<Item = &'static str> {
    Case::every().map(Case::name)
}

/// Where to write, and how to look.
pub struct Options<'a> {
    /// A name in a zone of the account; everything is written below it, apart from one value at the zone's apex.
    pub base: DomainName,
    /// The apex of a zone that the account holds inside another zone that it holds.
    pub deeper_zone: Option<DomainName>,
    /// A name in no zone of the account.
    pub foreign: DomainName,
    /// The same provider with credentials that are not good.
    pub impostor: Option<&'a dyn DnsProvider>,
    /// How long a change may take to be seen from outside.
    pub patience: Duration,
    /// The TXT values at a name as the world sees them, or why they cannot be seen.
    pub read: &'a Reader,
    /// The zone that `base` is in, for providers that do not tell their zones.
    pub zone: Option<DomainName>,
}

impl fmt::Debug for Options<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("base", &self.base)
            .field("deeper_zone", &self.deeper_zone)
            .field("foreign", &self.foreign)
            .field("impostor", &self.impostor)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

/// What is peculiar to a provider, or to where it is tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peculiar<'a> {
    /// Whether its contract is about challenges, whose values are 43 characters long, so that it may refuse others.
    pub challenges_only: bool,
    /// The one name that it writes, where it writes no other.
    pub only: Option<&'a DomainName>,
    /// The same provider at a service that never answers.
    pub silent: Option<&'a dyn DnsProvider>,
    /// Ends the case that runs, when it is cancelled: what it has written is taken out again as far as that takes no longer than 5 s.
    pub stop: Option<&'a CancellationToken>,
    /// The same provider at a service that has had too many requests.
    pub throttled: Option<&'a dyn DnsProvider>,
}

/// Reads the TXT values at a name; none where there is no such name.
pub type Reader = dyn Fn(DomainName) -> Reading + Send + Sync;

/// What a [`Reader`] gives.
pub type Reading = Pin<Box<dyn Future<Output = Result<Vec<TxtValue>, String>> + Send>>;

/// What became of one case.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CaseResult {
    /// The case, such as `remove-one-of-two`.
    pub name: &'static str,
    /// Values that the case has written and that are still there although they were removed again, or may be, where nobody can say.
    pub left: Vec<(DomainName, TxtValue)>,
    /// Whether the provider does it.
    pub outcome: Outcome,
    /// How long it took, with cleaning.
    pub took: Duration,
}

/// Whether a provider does what a case wants.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It does not, and should.
    Fail(String),
    /// It says that it cannot, or the options lack what the case needs.
    NotSupported(String),
    /// The case was stopped, nothing has had an answer before, or it might do harm.
    NotTried(String),
    /// It does.
    Pass,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Case {
    AddTwice,
    Apex,
    BadCredentials,
    DeepestZone,
    Capitals,
    LongValues,
    ManyNames,
    OneRefused,
    OwnWord,
    RateLimit,
    RemoveAbsent,
    RemoveOneOfTwo,
    SixteenWriters,
    TimeOut,
    TwoValues,
    UnknownZone,
}

impl Case {
    /// In the order they run: what others build on comes first, and what could hurt others last.
    const ALL: [Self; 14] = [
        Self::TwoValues,
        Self::AddTwice,
        Self::RemoveOneOfTwo,
        Self::RemoveAbsent,
        Self::Capitals,
        Self::LongValues,
        Self::ManyNames,
        Self::OneRefused,
        Self::SixteenWriters,
        Self::OwnWord,
        Self::DeepestZone,
        Self::UnknownZone,
        Self::BadCredentials,
        Self::Apex,
    ];

    /// What a service has to be made to fail for.
    const OF_FAILURE: [Self; 2] = [Self::RateLimit, Self::TimeOut];

    /// All of both, with that at the apex still the last.
    fn every() -> impl Iterator<Item = Self> {
        let ordinary = Self::ALL.into_iter().filter(|case| *case != Self::Apex);
        ordinary.chain(Self::OF_FAILURE).chain([Self::Apex])
    }

    /// Whether a failure may mean that values get lost.
    fn is_about_values(self) -> bool {
        match self {
            Self::AddTwice
            | Self::Apex
            | Self::Capitals
            | Self::LongValues
            | Self::ManyNames
            | Self::OneRefused
            | Self::OwnWord
            | Self::RemoveAbsent
            | Self::RemoveOneOfTwo
            | Self::SixteenWriters
            | Self::TwoValues => true,
            Self::BadCredentials
            | Self::DeepestZone
            | Self::RateLimit
            | Self::TimeOut
            | Self::UnknownZone => false,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::AddTwice => "add-twice",
            Self::Apex => "apex-as-owner",
            Self::BadCredentials => "bad-credentials",
            Self::DeepestZone => "deepest-zone",
            Self::Capitals => "values-that-differ-by-case",
            Self::LongValues => "values-of-255-and-300-octets",
            Self::ManyNames => "many-names-in-one-call",
            Self::OneRefused => "one-refused-among-good",
            Self::OwnWord => "own-word-agrees",
            Self::RateLimit => "rate-limit",
            Self::RemoveAbsent => "remove-what-is-not-there",
            Self::RemoveOneOfTwo => "remove-one-of-two",
            Self::SixteenWriters => "sixteen-writers-at-one-name",
            Self::TimeOut => "time-out",
            Self::TwoValues => "two-values-at-one-name",
            Self::UnknownZone => "unknown-zone",
        }
    }
}

fn still_there(left: &[(DomainName, TxtValue)]) -> String {
    match left {
        [(owner, value)] => format!("{value} is still at {owner} after its removal"),
        all => format!("{} values are still there after their removal", all.len()),
    }
}

enum Verdict {
    Fail(String),
    /// No answer came in time, or none at all.
    NoAnswer(String),
    NotSupported(String),
}

impl From<Played> for Outcome {
    fn from(played: Played) -> Self {
        match played {
            Ok(()) => Self::Pass,
            Err(Verdict::Fail(reason) | Verdict::NoAnswer(reason)) => Self::Fail(reason),
            Err(Verdict::NotSupported(reason)) => Self::NotSupported(reason),
        }
    }
}

impl From<ProviderError> for Verdict {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Unsupported { .. } => Self::NotSupported(error.to_string()),
            ProviderError::Failed { .. } | ProviderError::Unreachable { .. } => {
                Self::NoAnswer(error.to_string())
            }
            error => Self::Fail(error.to_string()),
        }
    }
}

type Played = Result<(), Verdict>;

#[cfg(test)]
mod tests;
