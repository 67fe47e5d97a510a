//! What is said: one thing of one certificate, in words and as a document.

use std::fmt;
use std::str::FromStr;

use jiff::SignedDuration;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::dns::Identifier;
use crate::store::CertId;
use crate::store::Version;

/// What became of a certificate.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum NoticeKind {
    /// The CA refuses the account, or what stands behind it has lapsed.
    AccountRefused,
    /// A new version is where it was to be deployed to.
    Deployed,
    /// A new version could not be deployed.
    DeployFailed,
    /// It is not valid any more.
    Expired,
    /// It should have been renewed long ago.
    Expiring,
    /// It could not be issued or renewed.
    Failed,
    /// There is a new version.
    Renewed,
    /// Somebody tries out whether notices arrive.
    Test,
}

impl NoticeKind {
    /// All that can be chosen.
    pub const ALL: [Self; 7] = [
        Self::AccountRefused,
        Self::Deployed,
        Self::DeployFailed,
        Self::Expired,
        Self::Expiring,
        Self::Failed,
        Self::Renewed,
    ];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AccountRefused => "account-refused",
            Self::Deployed => "deployed",
            Self::DeployFailed => "deploy-failed",
            Self::Expired => "expired",
            Self::Expiring => "expiring",
            Self::Failed => "failed",
            Self::Renewed => "renewed",
            Self::Test => "test",
        }
    }
}

impl fmt::Display for NoticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for NoticeKind {
    type Err = UnknownNotice;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == word)
            .ok_or_else(|| UnknownNotice(word.to_owned()))
    }
}

/// A word that is none of [`NoticeKind::ALL`].
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("there is no notice `{0}`")]
pub struct UnknownNotice(pub String);

/// One thing that is said of one certificate.
#[derive(Clone, Debug)]
pub struct Notice {
    /// What became of it.
    pub kind: NoticeKind,
    /// Which; for an account, and for a test, there is none.
    pub certificate: Option<CertId>,
    /// The names in it.
    pub names: Vec<Identifier>,
    /// The CA's directory, where it is known.
    pub directory: Option<String>,
    /// The version in force, or the new one.
    pub version: Option<u32>,
    /// Until when that version is valid.
    pub not_after: Option<Timestamp>,
    /// What went wrong.
    pub cause: Option<Cause>,
    /// When the next try is due.
    pub next_try: Option<Timestamp>,
    /// Where it was deployed to, or was not.
    pub targets: Vec<String>,
}

/// What went wrong.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Cause {
    /// The error.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl Notice {
    /// A notice that says nothing more yet.
    pub fn new(kind: NoticeKind, certificate: Option<CertId>) -> Self {
        Self {
            kind,
            certificate,
            names: Vec::new(),
            directory: None,
            version: None,
            not_after: None,
            cause: None,
            next_try: None,
            targets: Vec::new(),
        }
    }

    /// The same about this version.
    pub fn of_version(mut self, version: &Version) -> Self {
        self.names.clone_from(&version.names);
        self.directory = Some(version.directory.clone());
        self.version = Some(version.number);
        self.not_after = Some(version.not_after);
        self
    }

    /// What is said once a day: a notice that has no topic of its own says nothing new. That there is a new version is news each
    /// time, and so is another target that fails.
    pub(super) fn topics(&self) -> Vec<String> {
        let news = matches!(self.kind, NoticeKind::Deployed | NoticeKind::Renewed);
        let topic = match (&self.certificate, &self.directory) {
            (Some(id), _) => match self.version.filter(|_| news) {
                Some(version) => format!("{} {id} {version}", self.kind),
                None => format!("{} {id}", self.kind),
            },
            (None, Some(directory)) => format!("{} {directory}", self.kind),
            (None, None) => self.kind.to_string(),
        };
        match self.kind {
            NoticeKind::DeployFailed if !self.targets.is_empty() => {
                let of_target = |target| format!("{topic} {target}");
                self.targets.iter().map(of_target).collect()
            }
            _ => vec![topic],
        }
    }

    /// All targets side by side.
    pub(super) fn target(&self) -> Option<String> {
        (!self.targets.is_empty()).then(|| self.targets.join(", "))
    }

    /// One line for people.
    pub fn text(&self, now: Timestamp) -> String {
        let name = match (&self.certificate, &self.directory) {
            (Some(id), _) => id.to_string(),
            (None, Some(directory)) => directory.clone(),
            (None, None) => String::new(),
        };
        let cause = self
            .cause
            .as_ref()
            .map_or_else(String::new, |cause| format!(": {}", cause.message));
        let left = self
            .not_after
            .map_or_else(String::new, |at| left(now, at, "is valid for", "expired"));
        let version = self
            .version
            .map_or_else(String::new, |number| format!(" (version {number})"));
        let target = self
            .target()
            .map_or_else(String::new, |target| format!(" to {target}"));
        match self.kind {
            NoticeKind::AccountRefused => {
                format!("the CA at {name} refuses the account{cause}")
            }
            NoticeKind::Deployed => format!("{name} is deployed{target}{version}"),
            NoticeKind::DeployFailed => {
                format!("{name} could not be deployed{target}{version}{cause}")
            }
            NoticeKind::Expired => format!("{name} {left}"),
            NoticeKind::Expiring => format!("{name} {left} only, and is not renewed{cause}"),
            NoticeKind::Failed if self.version.is_none() => {
                format!("{name} could not be issued{cause}")
            }
            NoticeKind::Failed => {
                format!("{name} could not be renewed, and {left}{cause}")
            }
            NoticeKind::Renewed if self.version == Some(1) => {
                format!("{name} is issued{version}, and {left}")
            }
            NoticeKind::Renewed => format!("{name} is renewed{version}, and {left}"),
            NoticeKind::Test => "a test: notices of dnseal arrive here".to_owned(),
        }
    }

    /// The whole of it, as commands and webhooks get it.
    pub(super) fn document(&self, id: &str, now: Timestamp) -> Value {
        json!({
            "schema": 1,
            "id": id,
            "event": self.kind,
            "at": in_seconds(now),
            "host": host(),
            // What chat services show of a document that is posted to them.
            "text": self.text(now),
            "certificate": self.certificate,
            "names": self.names,
            "directory": self.directory,
            "version": self.version,
            "not_after": self.not_after,
            "seconds_left": self.seconds_left(now),
            "next_try": self.next_try.map(in_seconds),
            "target": self.target(),
            "error": self.cause,
            "sender": concat!("dnseal/", env!("CARGO_PKG_VERSION")),
        })
    }

    /// How long the certificate is still valid; negative once it is not.
    pub(super) fn seconds_left(&self, now: Timestamp) -> Option<i64> {
        self.not_after.map(|at| at.as_second() - now.as_second())
    }
}

/// What a version that has not been renewed deserves to be said of: nothing for most of its life.
///
/// It is about to expire when no more is left than an eighth of its lifetime or 14 days, whichever is less: well after a renewal was
/// due, and early enough to mend what keeps it from being renewed.
pub fn expiring(version: &Version, now: Timestamp) -> Option<NoticeKind> {
    if version.not_after <= now {
        return Some(NoticeKind::Expired);
    }
    (expires_soon_from(version) <= now).then_some(NoticeKind::Expiring)
}

/// When [`expiring`] says something else of this version than it does now; none once it has expired.
pub fn expiring_changes(version: &Version, now: Timestamp) -> Option<Timestamp> {
    [expires_soon_from(version), version.not_after]
        .into_iter()
        .find(|at| now < *at)
}

fn expires_soon_from(version: &Version) -> Timestamp {
    let lifetime = version.not_after.duration_since(version.not_before);
    let left = (lifetime / 8).min(EXPIRING);
    version
        .not_after
        .checked_sub(left)
        .unwrap_or(version.not_after)
}

/// `is valid for 12 days`, `expired 3 hours ago`.
fn left(now: Timestamp, at: Timestamp, ahead: &str, behind: &str) -> String {
    let seconds = at.as_second() - now.as_second();
    let distance = match seconds.unsigned_abs() {
        s @ ..120 => plural(s, "second"),
        s @ ..7_200 => plural(s / 60, "minute"),
        s @ ..172_800 => plural(s / 3_600, "hour"),
        s => plural(s / 86_400, "day"),
    };
    match seconds > 0 {
        true => format!("{ahead} {distance}"),
        false => format!("{behind} {distance} ago"),
    }
}

fn plural(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        _ => format!("{count} {noun}s"),
    }
}

/// Nobody reads fractions of a second.
fn in_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}

/// What this machine calls itself.
fn host() -> Option<String> {
    #[cfg(unix)]
    let name = rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned();
    #[cfg(not(unix))]
    let name = std::env::var("COMPUTERNAME").unwrap_or_default();
    Some(name).filter(|name| !name.is_empty())
}

/// What is left of a long-lived certificate when it is said to be about to expire.
const EXPIRING: SignedDuration = SignedDuration::from_hours(14 * 24);
