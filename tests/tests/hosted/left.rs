//! What scripts leave behind: those of a run that was killed, which may still write, and processes in the background.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use dnseal_core::dns::{NamedProvider, ZoneWriters};
use dnseal_core::event::Events;
use dnseal_tests::{
    Bind, Dnseal, NameServer, Pebble, PebbleOptions, added, txt_values, wait_until,
};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::scripts::Scripts;
use crate::{OWNER, bind_with_scripts, issue, zone};

/// A run that was killed while its script was about to write.
struct Killed {
    bind: Bind,
    home: TempDir,
    pebble: Pebble,
    scripts: Scripts,
}

impl Killed {
    fn new(timeout: &str) -> Option<Self> {
        let (bind, scripts) = bind_with_scripts()?;
        let scripts = scripts.with_gate();
        let pebble = Pebble::start(PebbleOptions::new(bind.addr()))?;
        let home = TempDir::with_prefix("dnseal-home-").unwrap();
        let config = format!(
            "providers:\n  it: {{ kind: exec, command: '{}', timeout: {timeout}{} }}\n",
            scripts.path("late"),
            scripts.env_yaml()
        );
        fs::write(home.path().join("dnseal.yaml"), config).unwrap();
        let killed = Self {
            bind,
            home,
            pebble,
            scripts,
        };
        let run = killed.issue().spawn();
        let pid = killed.scripts.path("pid");
        assert!(wait_until(PATIENCE, || Path::new(&pid).exists()));
        run.kill();
        drop(run);
        Some(killed)
    }

    fn issue(&self) -> Dnseal {
        issue(self.home.path(), &self.bind, &self.pebble).arg("-v")
    }

    fn collect(&self) -> Dnseal {
        Dnseal::new(self.home.path())
            .args(["dns", "gc", "--config", "dnseal.yaml", "--dir", "state"])
            .args(["--nameserver", &self.bind.addr().to_string()])
    }

    fn values(&self) -> Vec<String> {
        txt_values(self.bind.addr(), OWNER)
    }

    fn pid(&self) -> String {
        let pid = fs::read_to_string(self.scripts.path("pid")).unwrap();
        pid.trim().to_owned()
    }
}

#[test]
fn a_script_of_a_killed_run_is_waited_for() {
    let Some(killed) = Killed::new("1m") else {
        return;
    };
    let next = killed.issue().spawn();
    let told = format!("process {}, which an earlier run has left", killed.pid());
    next.wait_stderr(&told);
    killed.scripts.open_gate();
    let run = next.wait().success();
    assert!(!run.stderr.contains("on record"), "{run:?}");
    assert_eq!(killed.values(), Vec::<String>::new());
    let run = killed.collect().run().success();
    assert!(run.stdout.contains("nothing is left"), "{run:?}");
}

#[test]
fn what_a_script_of_a_killed_run_writes_after_all_is_found_later() {
    let Some(killed) = Killed::new("2s") else {
        return;
    };
    let run = killed.issue().run().success();
    assert!(run.stderr.contains("stays on record"), "{run:?}");
    assert_eq!(killed.values(), Vec::<String>::new());
    let pid = killed.pid();
    let script = Path::new("/proc").join(&pid).join("cmdline");
    assert_ne!(fs::read(&script).unwrap(), b"", "the script is over");

    killed.scripts.open_gate();
    assert!(wait_until(PATIENCE, || is_over(&pid)));
    assert_eq!(killed.values().len(), 1);
    let run = killed.collect().run().success();
    assert!(run.stdout.contains("withdrawn"), "{run:?}");
    assert_eq!(killed.values(), Vec::<String>::new());
    let run = killed.collect().run().success();
    assert!(run.stdout.contains("nothing is left"), "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stays_in_the_background_is_not_waited_for() {
    let Some((_bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let scripts = scripts.with_gate();
    let settings = [
        ("command", scripts.path("leaves")),
        ("timeout", "30".to_owned()),
    ];
    let provider = scripts.provider("exec", &settings);
    let began = Instant::now();
    provider.apply(&zone(), &[added(OWNER, "a")]).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(20));
    // It goes on.
    scripts.open_gate();
    let heard = scripts.path("heard");
    let has_heard = || fs::read_to_string(&heard).is_ok_and(|text| text == "go\n");
    assert!(wait_until(PATIENCE, has_heard));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_left_of_a_script_that_does_not_end_and_it_is_given_up_soon() {
    let Some((_bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let settings = [
        ("command", scripts.path("leaves-and-hangs")),
        ("timeout", "1".to_owned()),
    ];
    let provider = NamedProvider {
        name: "it".to_owned(),
        provider: scripts.provider("exec", &settings),
    };
    let writers = ZoneWriters::new(Events::silent());
    let changes = vec![added(OWNER, "a"), added(OWNER, "b")];
    let cancel = CancellationToken::new();
    let submission = writers.submit(&provider, &zone(), changes, &cancel);
    let mut results = submission.written().await.unwrap().results;
    let error = results.pop().unwrap().unwrap_err();
    let hint = error.hint().unwrap();
    assert!(
        hint.contains("`timeout`") && !hint.contains("PROXY"),
        "{hint}"
    );
    let starts = fs::read_to_string(scripts.path("starts")).unwrap();
    assert_eq!(starts, "start\nstart\nstart\n");
    let pid = fs::read_to_string(scripts.path("pid")).unwrap();
    assert!(wait_until(PATIENCE, || is_over(pid.trim())));
}

/// A word that a setting holds is no secret, and messages are read.
#[tokio::test(flavor = "multi_thread")]
async fn short_words_stay_in_messages() {
    let Some((_bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let settings = [
        ("command", scripts.path("fails")),
        ("env.MODE", "zone".to_owned()),
        ("env.TOKEN", "no such".to_owned()),
    ];
    let provider = scripts.provider("exec", &settings);
    let error = provider.apply(&zone(), &[added(OWNER, "a")]).await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("[redacted] zone"), "{text}");
}

/// Whether it has ended, also where nobody has asked how.
fn is_over(pid: &str) -> bool {
    let command = fs::read(Path::new("/proc").join(pid).join("cmdline"));
    command.is_ok_and(|command| command.is_empty()) || !Path::new("/proc").join(pid).exists()
}

const PATIENCE: Duration = Duration::from_secs(30);
