//! How far a run has come: on a terminal one moving line a name, elsewhere one plain line a step.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use dnseal_core::dns::Identifier;
use dnseal_core::dns::Upstream;
use dnseal_core::event::Event;
use dnseal_core::event::Stage;
use dnseal_core::event::Step;
use dnseal_core::event::What;
use dnseal_core::store::CertId;
use indicatif::MultiProgress;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;
use jiff::Timestamp;
use serde_json::json;

use crate::render::LineFormat;
use crate::render::Printer;
use crate::render::log::Detail;
use crate::render::log::describe;
use crate::render::log::named;
use crate::render::log::stage_words;
use crate::render::log::step_words;

/// The moving lines, if there are any; clones share them.
#[derive(Clone)]
pub(crate) struct Progress {
    printer: Printer,
    lines: Option<Arc<MultiProgress>>,
}

impl Progress {
    /// Moving lines on a terminal, plain ones elsewhere.
    pub(crate) fn new(printer: Printer) -> Self {
        let lines = printer
            .moving
            .then(|| Arc::new(MultiProgress::with_draw_target(ProgressDrawTarget::stderr())));
        Self { printer, lines }
    }

    /// Writes a line to standard error, above the moving ones.
    pub(crate) fn say(&self, line: &str) {
        self.say_at("info", line);
    }

    /// The same of something that has failed.
    pub(crate) fn complain(&self, line: &str) {
        self.say_at("error", line);
    }

    fn say_at(&self, level: &str, line: &str) {
        match self.printer.lines {
            LineFormat::Json => {
                let document =
                    json!({ "at": now(), "level": level, "event": "message", "message": line });
                self.print(&document.to_string());
            }
            LineFormat::Plain => self.print(line),
            LineFormat::Stamped => self.print(&format!("{} {line}", now())),
        }
    }

    fn print(&self, line: &str) {
        let print = || {
            // Nobody reads: that is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{line}");
        };
        match &self.lines {
            Some(lines) => lines.suspend(print),
            None => print(),
        }
    }

    /// Does something on the terminal while nothing moves.
    pub(crate) fn suspend<T>(&self, work: impl FnOnce() -> T) -> T {
        match &self.lines {
            Some(lines) => lines.suspend(work),
            None => work(),
        }
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("printer", &self.printer)
            .finish_non_exhaustive()
    }
}

/// The reader of the event stream that people watch.
#[derive(Debug)]
pub(super) struct Display {
    progress: Progress,
    certificates: BTreeMap<CertId, Lines>,
    /// One line for each server that is watched without a certificate.
    servers: BTreeMap<(String, Upstream), ProgressBar>,
}

/// What moves for one certificate.
#[derive(Debug)]
struct Lines {
    whole: ProgressBar,
    /// The lowest of its lines.
    last: ProgressBar,
    names: BTreeMap<Identifier, (Step, Option<ProgressBar>)>,
    stage: Stage,
}

impl Display {
    pub(super) fn new(progress: Progress) -> Self {
        Self {
            progress,
            certificates: BTreeMap::new(),
            servers: BTreeMap::new(),
        }
    }

    /// Shows one event, as far as it is wanted.
    pub(super) fn show(&mut self, event: &Event) {
        if self.progress.printer.lines == LineFormat::Json {
            let (detail, _) = describe(&event.what);
            if detail <= self.wanted()
                && let Ok(mut line) = serde_json::to_value(event)
            {
                line["level"] = json!(detail.level());
                self.progress.print(&line.to_string());
            }
            return;
        }
        if let What::Warning { message, hint } = &event.what {
            let message = named(event, message);
            let line = self.progress.printer.warning(&message, hint.as_deref());
            self.progress.say(&line);
            return;
        }
        if let What::ByHand { .. } = &event.what {
            // Without it nothing goes on, so it is said to the quiet, too.
            let (_, text) = describe(&event.what);
            self.progress.say(&named(event, &text));
            return;
        }
        if self.progress.lines.is_some() {
            self.move_lines(event);
            return;
        }
        let (detail, text) = describe(&event.what);
        if detail <= self.wanted() {
            self.progress.say(&named(event, &text));
        }
    }

    /// How much somebody wants to hear.
    fn wanted(&self) -> Detail {
        match (self.progress.printer.quiet, self.progress.printer.verbose) {
            (true, _) => Detail::Warning,
            (false, 0) => Detail::Normal,
            (false, 1) => Detail::Verbose,
            (false, _) => Detail::Everything,
        }
    }

    /// Takes the moving lines away.
    pub(super) fn finish(&mut self) {
        for lines in self.certificates.values() {
            for (_, bar) in lines.names.values() {
                if let Some(bar) = bar {
                    bar.finish_and_clear();
                }
            }
            lines.whole.finish_and_clear();
        }
        for line in self.servers.values() {
            line.finish_and_clear();
        }
        if let Some(lines) = &self.progress.lines {
            // What a line was when the run ended must not stay behind it.
            let _ = lines.clear();
        }
    }

    fn move_lines(&mut self, event: &Event) {
        let Some(multi) = &self.progress.lines else {
            return;
        };
        let Some(id) = &event.certificate else {
            if let What::Verdict {
                server,
                address,
                verdict,
                ..
            } = &event.what
            {
                self.servers
                    .entry((server.clone(), address.clone()))
                    .or_insert_with(|| add_line(multi, &format!("{server}  {address}")))
                    .set_message(verdict.clone());
            }
            return;
        };
        let others: usize = self
            .certificates
            .values()
            .map(|lines| lines.names.len())
            .sum();
        let lines = self.certificates.entry(id.clone()).or_insert_with(|| {
            let whole = add_line(multi, id.as_str());
            Lines {
                last: whole.clone(),
                whole,
                names: BTreeMap::new(),
                stage: Stage::Prepare,
            }
        });
        match &event.what {
            What::Stage { stage } => {
                lines.stage = *stage;
                lines.whole.set_message(lines.message());
                if *stage == Stage::Done {
                    lines.whole.finish_and_clear();
                }
            }
            What::Progress { identifier, step } => {
                if !lines.names.contains_key(identifier) {
                    let bar = (others < MOST_LINES)
                        .then(|| add_line_after(multi, &lines.last, &format!("  {identifier}")));
                    if let Some(bar) = &bar {
                        lines.last = bar.clone();
                    }
                    lines.names.insert(identifier.clone(), (*step, bar));
                }
                if let Some((current, bar)) = lines.names.get_mut(identifier) {
                    *current = *step;
                    if let Some(bar) = bar {
                        bar.set_message(step_words(*step));
                        if matches!(step, Step::Valid | Step::AlreadyValid) {
                            bar.finish();
                        }
                    }
                }
                lines.whole.set_message(lines.message());
            }
            What::Wave { number, of, .. } => {
                lines.whole.set_message(format!("wave {number} of {of}"));
            }
            What::Waiting { reason, .. } => lines.whole.set_message(format!("waiting: {reason}")),
            _ => {}
        }
    }
}

impl Lines {
    /// The stage, and how many names have come how far, where they do not have lines of their own.
    fn message(&self) -> String {
        let words = stage_words(self.stage);
        let counted = |from: Step| {
            self.names
                .values()
                .filter(|(step, _)| *step >= from || *step == Step::AlreadyValid)
                .count()
        };
        let all = self.names.len();
        match self.stage {
            Stage::Publish => format!("{words} ({} of {all})", counted(Step::Written)),
            Stage::Propagate => format!("{words} ({} of {all})", counted(Step::Visible)),
            Stage::Validate => format!("{words} ({} of {all})", counted(Step::Valid)),
            _ => words.to_owned(),
        }
    }
}

/// To the millisecond, which is as much as anybody compares.
fn now() -> String {
    format!("{:.3}", Timestamp::now())
}

fn add_line(multi: &MultiProgress, prefix: &str) -> ProgressBar {
    styled(multi.add(ProgressBar::new_spinner()), prefix)
}

fn add_line_after(multi: &MultiProgress, after: &ProgressBar, prefix: &str) -> ProgressBar {
    styled(
        multi.insert_after(after, ProgressBar::new_spinner()),
        prefix,
    )
}

fn styled(bar: ProgressBar, prefix: &str) -> ProgressBar {
    if let Ok(style) = ProgressStyle::with_template("{spinner} {prefix}  {wide_msg} {elapsed:>4}") {
        bar.set_style(style);
    }
    bar.set_prefix(prefix.to_owned());
    bar.enable_steady_tick(TICK);
    bar
}

/// More names than this do not fit a screen; their certificate counts them.
const MOST_LINES: usize = 20;
/// Smooth enough to be seen to live, slow enough to cost nothing.
const TICK: Duration = Duration::from_millis(100);
