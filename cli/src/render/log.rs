//! Events as lines of text: all of them in the log file, as many as were asked for on standard error.

use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write;
use std::path::Path;

use dnseal_core::event::Event;
use dnseal_core::event::Stage;
use dnseal_core::event::Step;
use dnseal_core::event::What;

use crate::render::duration;

/// How much somebody must want to hear to be told of an event.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(super) enum Detail {
    /// Something is wrong.
    Warning,
    /// What happens as a whole.
    Normal,
    /// Each name: `-v`.
    Verbose,
    /// Each request and query: `-vv`.
    Everything,
}

impl Detail {
    /// As programs that collect logs call it.
    pub(super) fn level(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Normal => "info",
            Self::Verbose | Self::Everything => "debug",
        }
    }
}

/// The log file, to which lines are only added.
#[derive(Debug)]
pub(crate) struct LogFile {
    file: File,
}

impl LogFile {
    /// Opens the file, made for its owner alone where it is missing. A pipe that nobody reads holds up no run.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        #[cfg(unix)]
        {
            use std::os::unix::fs::OpenOptionsExt;

            let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
            options.mode(0o600).custom_flags(flags);
        }
        Ok(Self {
            file: options.open(path)?,
        })
    }

    /// Adds the event as one line.
    pub(super) fn write(&mut self, event: &Event) -> io::Result<()> {
        let (_, text) = describe(&event.what);
        let line = format!(
            "{:.3} {}\n",
            event.at,
            named(event, &text).replace('\n', " | ")
        );
        self.file.write_all(line.as_bytes())
    }
}

/// The text of an event after the certificate it is about.
pub(super) fn named(event: &Event, text: &str) -> String {
    match &event.certificate {
        Some(id) => format!("{id}: {text}"),
        None => text.to_owned(),
    }
}

/// An event in words, and who wants to hear it.
pub(super) fn describe(what: &What) -> (Detail, String) {
    match what {
        What::AcmeRequest {
            method,
            resource,
            url,
            status,
            problem,
            elapsed,
        } => {
            let status = status.map_or_else(|| "no answer".to_owned(), |s| s.to_string());
            let problem = problem
                .as_ref()
                .map_or_else(String::new, |p| format!(" ({p})"));
            let text = format!(
                "acme {method} {resource} {url} {status}{problem} in {}ms",
                elapsed.as_millis()
            );
            (Detail::Everything, text)
        }
        What::ByHand {
            records,
            remove,
            at_most,
        } => {
            let limit =
                at_most.map_or_else(String::new, |d| format!(", for at most {}", duration(d)));
            let first = match remove {
                true => "these records are not needed any more, and may be removed:".to_owned(),
                false => format!("set these records; they are looked for{limit}:"),
            };
            let lines: Vec<String> = records
                .iter()
                .map(|record| format!("\n  {record}"))
                .collect();
            (Detail::Warning, format!("{first}\n{}\n", lines.concat()))
        }
        What::Deployed { version, directory } => (
            Detail::Verbose,
            format!("version {version} is in {directory}"),
        ),
        What::DnsQuery {
            server,
            transport,
            name,
            record_type,
            outcome,
            elapsed,
        } => {
            let text = format!(
                "dns {server} {transport} {name} {record_type}: {outcome} in {}ms",
                elapsed.as_millis()
            );
            (Detail::Everything, text)
        }
        What::Descended { zone, to, because } => (
            Detail::Normal,
            format!(
                "looks for the values of {zone} by {} now: {because}",
                to.words()
            ),
        ),
        What::Proven {
            owner,
            rung,
            because,
        } => {
            let because = because
                .as_ref()
                .map_or_else(String::new, |why| format!(", because {why}"));
            (
                Detail::Verbose,
                format!("{owner} is proven by {}{because}", rung.words()),
            )
        }
        What::Hook {
            command,
            error,
            output,
            elapsed,
        } => {
            let took = elapsed.as_millis();
            let mut text = match error {
                Some(error) => format!("{error} after {took}ms"),
                None => format!("ran `{command}` in {took}ms"),
            };
            for line in output.lines() {
                text.push_str("\n  ");
                text.push_str(line);
            }
            (Detail::Verbose, text)
        }
        What::Issued { version } => (
            Detail::Verbose,
            format!("version {version} is in the store"),
        ),
        What::Located {
            identifier,
            owner,
            zone,
            provider,
        } => {
            let text = format!(
                "{identifier} is proven at {owner} in the zone {zone}, written by {provider}"
            );
            (Detail::Verbose, text)
        }
        What::ProviderLog { provider, line } => (Detail::Verbose, format!("{provider}: {line}")),
        What::Progress { identifier, step } => (
            Detail::Verbose,
            format!("{identifier} {}", step_words(*step)),
        ),
        What::ProviderCall {
            provider,
            call,
            zone,
            adds,
            removes,
            error,
            elapsed,
        } => {
            let zone = zone.as_ref().map_or_else(String::new, |z| format!(" {z}"));
            let changes = match (adds, removes) {
                (0, 0) => String::new(),
                _ => format!(" +{adds} -{removes}"),
            };
            let error = error
                .as_ref()
                .map_or_else(String::new, |e| format!(": {e}"));
            let text = format!(
                "provider {provider} {call}{zone}{changes} in {}ms{error}",
                elapsed.as_millis()
            );
            (Detail::Verbose, text)
        }
        What::Stage { stage } => (Detail::Normal, stage_words(*stage).to_owned()),
        What::TargetDeployed { target, version } => (
            Detail::Verbose,
            format!("version {version} is deployed to {target}"),
        ),
        What::Verdict {
            owner,
            server,
            address,
            verdict,
        } => (
            Detail::Verbose,
            format!("{owner} at {server} ({address}): {verdict}"),
        ),
        What::Waiting { reason, at_most } => {
            let limit = at_most.map_or_else(String::new, |d| format!(", at most {}", duration(d)));
            (Detail::Normal, format!("waiting: {reason}{limit}"))
        }
        What::Wave { number, of, values } => (
            Detail::Normal,
            format!(
                "wave {number} of {of}: {values} challenges, because their owner names hold no more values at once"
            ),
        ),
        What::Warning { message, hint } => {
            let hint = hint
                .as_ref()
                .map_or_else(String::new, |h| format!(" ({h})"));
            (Detail::Warning, format!("warning: {message}{hint}"))
        }
        // The stream may grow; whoever wants everything still sees that something was said.
        other => (Detail::Everything, format!("{other:?}")),
    }
}

/// What a stage does.
pub(super) fn stage_words(stage: Stage) -> &'static str {
    match stage {
        Stage::Prepare => "looking at what is there",
        Stage::Order => "ordering",
        Stage::Locate => "finding where each challenge lives",
        Stage::Publish => "writing to DNS",
        Stage::Propagate => "waiting for proof that the values are served",
        Stage::Validate => "waiting for the CA to look",
        Stage::Finalize => "asking for the certificate",
        Stage::Store => "checking and storing it",
        Stage::Deploy => "putting it in place",
        Stage::Withdraw => "taking the values out of DNS",
        Stage::Done => "done",
    }
}

/// How far a name has come.
pub(super) fn step_words(step: Step) -> &'static str {
    match step {
        Step::Ordered => "ordered",
        Step::AlreadyValid => "needs no new proof",
        Step::Planned => "planned",
        Step::Written => "written",
        Step::Visible => "proven to be served",
        Step::Answered => "shown to the CA",
        Step::Valid => "validated",
        Step::Failed => "refused",
    }
}
