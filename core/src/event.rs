//! What the engine tells whoever watches.
//!
//! Every part of the engine holds an [`Events`] handle and says what it does as it does it; one consumer receives
//! all of it in order, and progress, logs and statistics are three readers of that one stream. An event is a fact
//! with its numbers, never a rendered sentence of the terminal, and never a secret.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::mpsc;

use crate::dns::ByHand;
use crate::dns::DomainName;
use crate::dns::Identifier;
use crate::dns::Rung;
use crate::dns::Upstream;
use crate::store::CertId;

/// One thing that happened.
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// When, by this machine's clock.
    pub at: Timestamp,
    /// For which certificate, where it is for one.
    pub certificate: Option<CertId>,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum What {
    /// A person has to set records, or may remove them.
    ByHand {
        /// All of them.
        records: Vec<ByHand>,
        /// Whether they may be removed.
        remove: bool,
        /// How long it is waited for them at most.
        #[serde(serialize_with = "as_optional_millis")]
        at_most: Option<Duration>,
    },
    /// A request to the CA was answered, or failed.
    AcmeRequest {
        /// `GET`, `HEAD` or `POST`.
        method: &'static str,
        /// What was asked for, such as `newOrder` or `authorization`.
        resource: &'static str,
        /// The whole URL.
        url: String,
        /// The HTTP status; `None` when no answer came.
        status: Option<u16>,
        /// The type or the reason, where it failed.
        problem: Option<String>,
        /// How long it took.
        #[serde(serialize_with = "as_millis")]
        elapsed: Duration,
    },
    /// The certificate's files on this machine are those of this version now.
    Deployed {
        /// The version.
        version: u32,
        /// The directory that holds the four files.
        directory: String,
    },
    /// A question to a name server was answered, or was not.
    DnsQuery {
        /// Which server.
        server: Upstream,
        /// `udp`, `tcp`, `tls` or `https`.
        transport: &'static str,
        /// The owner name asked for.
        name: String,
        /// The type asked for.
        record_type: String,
        /// What came, in a few words: `NOERROR, 2 answers`, `NXDOMAIN`, `time-out`.
        outcome: String,
        /// How long it took.
        #[serde(serialize_with = "as_millis")]
        elapsed: Duration,
    },
    /// A command of this machine's configuration ended.
    Hook {
        /// The command.
        command: String,
        /// Why it did not do what it is for.
        error: Option<String>,
        /// The last lines that it wrote.
        output: String,
        /// How long it took.
        #[serde(serialize_with = "as_millis")]
        elapsed: Duration,
    },
    /// A new version is in the store.
    Issued {
        /// The version.
        version: u32,
    },
    /// The challenge of one name lives elsewhere.
    Located {
        /// The name of the certificate.
        identifier: Identifier,
        /// Where the value goes.
        owner: DomainName,
        /// The zone that holds it.
        zone: DomainName,
        /// The configured provider that serves the zone.
        provider: String,
    },
    /// A call to a DNS provider ended.
    ProviderCall {
        /// The configured name of the provider.
        provider: String,
        /// `zone_of`, `apply`, `settled` or `values`.
        call: &'static str,
        /// The zone, where it is known.
        zone: Option<DomainName>,
        /// Values that were added.
        adds: usize,
        /// Values that were removed.
        removes: usize,
        /// What went wrong.
        error: Option<String>,
        /// How long it took.
        #[serde(serialize_with = "as_millis")]
        elapsed: Duration,
    },
    /// A program that serves a provider wrote a line to its log.
    ProviderLog {
        /// The kind of the provider.
        provider: String,
        /// The line, without secrets.
        line: String,
    },
    /// A challenge of one name has come one step further.
    Progress {
        /// The name of the certificate.
        identifier: Identifier,
        /// Where it stands now.
        step: Step,
    },
    /// The evidence is there that the values at an owner name are served.
    Proven {
        /// The owner name.
        owner: DomainName,
        /// What the evidence is.
        rung: Rung,
        /// Why it is not a better one, where it is not the best.
        because: Option<String>,
    },
    /// A better kind of evidence cannot be had for a zone, and the next one is looked for.
    Descended {
        /// The zone, or the name that is looked for.
        zone: DomainName,
        /// What is looked for now.
        to: Rung,
        /// Why.
        because: String,
    },
    /// The order as a whole has entered a stage.
    Stage {
        /// Which.
        stage: Stage,
    },
    /// A target on this machine has this version now.
    TargetDeployed {
        /// The label of the target.
        target: String,
        /// The version.
        version: u32,
    },
    /// A server's verdict about one owner name has changed.
    Verdict {
        /// The owner name.
        owner: DomainName,
        /// The name of the server, as the NS record has it.
        server: String,
        /// Its address, or its URL.
        address: Upstream,
        /// `has it`, `lacks it`, `unusable`, with what it answered.
        verdict: String,
    },
    /// The engine waits for something that is not its own work.
    Waiting {
        /// For whom or what.
        reason: String,
        /// How long at most, where that is known.
        #[serde(serialize_with = "as_optional_millis")]
        at_most: Option<Duration>,
    },
    /// Not all values fit beside each other, and the next part of the challenges is being answered.
    Wave {
        /// Which, from 1.
        number: usize,
        /// Of how many.
        of: usize,
        /// The challenges in it.
        values: usize,
    },
    /// Something that does not stop the run but that somebody should know.
    Warning {
        /// What.
        message: String,
        /// What to do about it.
        hint: Option<String>,
    },
}

/// Where the challenge of one name stands.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The order names it.
    Ordered,
    /// The CA needs no new proof.
    AlreadyValid,
    /// Its value is written down in the head.
    Planned,
    /// The provider has taken the value.
    Written,
    /// The evidence is there that it is served.
    Visible,
    /// The CA has been told to look.
    Answered,
    /// The CA has seen it.
    Valid,
    /// The CA refused it.
    Failed,
}

/// Where an order stands.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Account, directory and leftovers of an earlier run.
    Prepare,
    /// Making the order and reading its authorizations.
    Order,
    /// Finding where each challenge lives.
    Locate,
    /// Writing to the zones.
    Publish,
    /// Waiting until every authoritative server has the values.
    Propagate,
    /// Answering challenges and waiting for the CA's verdict.
    Validate,
    /// CSR, and waiting for the certificate.
    Finalize,
    /// Checking and storing the certificate.
    Store,
    /// Projecting it onto this machine.
    Deploy,
    /// Taking the values out of DNS.
    Withdraw,
    /// Nothing is left to do.
    Done,
}

/// A handle through which parts of the engine tell what they do; cheap to clone.
#[derive(Clone)]
pub struct Events {
    sender: Option<mpsc::UnboundedSender<Event>>,
    certificate: Option<Arc<CertId>>,
}

impl Events {
    /// A stream, and the handle that feeds it.
    pub fn channel() -> (Self, mpsc::UnboundedReceiver<Event>) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let events = Self {
            sender: Some(sender),
            certificate: None,
        };
        (events, receiver)
    }

    /// A handle that nobody listens to.
    pub fn silent() -> Self {
        Self {
            sender: None,
            certificate: None,
        }
    }

    /// The same stream, with every event marked as being for this certificate.
    pub fn for_certificate(&self, id: &CertId) -> Self {
        Self {
            sender: self.sender.clone(),
            certificate: Some(Arc::new(id.clone())),
        }
    }

    /// Tells one thing. Never blocks; nobody listening is no error.
    pub fn emit(&self, what: What) {
        if let Some(sender) = &self.sender {
            let _ = sender.send(Event {
                at: Timestamp::now(),
                certificate: self.certificate.as_deref().cloned(),
                what,
            });
        }
    }

    /// Tells that an order has entered a stage.
    pub fn stage(&self, stage: Stage) {
        self.emit(What::Stage { stage });
    }

    /// Tells something that somebody should know.
    pub fn warn(&self, message: impl Into<String>, hint: Option<String>) {
        self.emit(What::Warning {
            message: message.into(),
            hint,
        });
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}

fn as_millis<S: serde::Serializer>(value: &Duration, s: S) -> Result<S::Ok, S::Error> {
    s.serialize_u64(u64::try_from(value.as_millis()).unwrap_or(u64::MAX))
}

fn as_optional_millis<S: serde::Serializer>(
    value: &Option<Duration>,
    s: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => as_millis(value, s),
        None => s.serialize_none(),
    }
}
