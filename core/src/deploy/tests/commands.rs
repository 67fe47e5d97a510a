//! What is run: by targets, and once all are in place.

use super::*;

#[tokio::test]
async fn a_command_that_fails_is_tried_again_and_then_left_alone() {
    let machine = Machine::new();
    let version = machine.version(1).await;
    let tries = machine.path("tries");
    let text = format!(
        "echo try >> {0}; test $(wc -l < {0}) -ge 3 || {{ echo not yet >&2; exit 7; }}",
        tries.display()
    );
    let targets = [target(machine.pair(), Some(&text))];
    assert_eq!(machine.state(&version, &targets), [Standing::Due]);
    for attempt in 1..=2 {
        let outcomes = machine.deploy(&version, &targets).await;
        let error = error(&outcomes);
        assert!(error.to_string().contains("status 7"), "{error}");
        assert_eq!(error.output(), Some("not yet"));
        let [
            Standing::Failed {
                attempts, error, ..
            },
        ] = &machine.state(&version, &targets)[..]
        else {
            panic!("{:?}", machine.state(&version, &targets))
        };
        assert_eq!(*attempts, attempt);
        assert!(error.contains("not yet"), "{error}");
        machine.assert_pair_is(&version).await;
    }
    assert_eq!(
        done(&machine.deploy(&version, &targets).await),
        [Done::Deployed]
    );
    assert_eq!(machine.state(&version, &targets), [Standing::Deployed]);
    assert_eq!(done(&machine.deploy(&version, &targets).await), [Done::Had]);
    assert_eq!(machine.text("tries").lines().count(), 3);

    // A new version, a new definition, a lost file: each is a reason.
    let second = machine.version(2).await;
    assert_eq!(machine.state(&second, &targets), [Standing::Due]);
    assert_eq!(
        done(&machine.deploy(&second, &targets).await),
        [Done::Deployed]
    );
    machine.assert_pair_is(&second).await;
    let changed = [target(machine.pair(), Some(&format!("{text} # new")))];
    assert_eq!(
        done(&machine.deploy(&second, &changed).await),
        [Done::Deployed]
    );
    std::fs::remove_file(machine.path("etc/key.pem")).unwrap();
    let run = machine.deployer.begin().unwrap();
    assert!(run.is_due(&machine.id, &second, &changed));
    assert_eq!(
        done(&machine.deploy(&second, &changed).await),
        [Done::Deployed]
    );
    machine.assert_pair_is(&second).await;
}

async fn is_gone(pid: &Path) -> bool {
    let pid = std::fs::read_to_string(pid).unwrap();
    let alive = || {
        std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()))
            .is_ok_and(|stat| !stat.contains(") Z "))
    };
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    while alive() && std::time::Instant::now() < deadline {
        tokio::task::yield_now().await;
    }
    !alive()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_child_in_a_session_of_its_own_is_killed_too() {
    let root = tempfile::tempdir().unwrap();
    let pid = root.path().join("pid");
    // Its parent is gone at once, so that no tree leads to it.
    let text = format!(
        "(setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; trap \"\" TERM; while :; do sleep 1000; done' &); sleep 1000",
        pid.display()
    );
    let cancel = CancellationToken::new();
    let hook = Hook::shell(&text, Duration::from_secs(600));
    let written = async {
        while !pid.exists() {
            tokio::task::yield_now().await;
        }
        cancel.cancel();
    };
    let (ended, ()) = tokio::join!(run(&hook, &cancel), written);
    assert!(ended.unwrap_err().is_cancelled());
    assert!(is_gone(&pid).await, "the child lives on");

    // What a command leaves behind that has ended well is meant to run.
    let text = format!(
        "(setsid sh -c 'echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000' &); while [ ! -e {0} ]; do :; done",
        pid.display()
    );
    std::fs::remove_file(&pid).unwrap();
    let hook = Hook::shell(&text, Duration::from_secs(600));
    run(&hook, &CancellationToken::new()).await.unwrap();
    let number = std::fs::read_to_string(&pid).unwrap();
    let number = rustix::process::Pid::from_raw(number.trim().parse().unwrap()).unwrap();
    rustix::process::kill_process(number, rustix::process::Signal::KILL).unwrap();
}

#[tokio::test]
async fn a_hook_that_hangs_is_killed_with_its_children() {
    let root = tempfile::tempdir().unwrap();
    let pid = root.path().join("pid");
    let text = format!(
        "trap '' TERM; sleep 1000 & echo $! > {}; echo waiting; wait; sleep 1000",
        pid.display()
    );
    let hook = Hook::shell(&text, Duration::from_millis(400));
    let error = run(&hook, &CancellationToken::new()).await.unwrap_err();
    assert!(matches!(error, HookError::TimedOut { .. }), "{error}");
    assert_eq!(error.output(), Some("waiting"));
    let pid = std::fs::read_to_string(pid).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).unwrap_or_default();
    // A dead process may wait for whoever is to collect it.
    assert!(stat.is_empty() || stat.contains(") Z "), "{stat}");

    let cancel = CancellationToken::new();
    cancel.cancel();
    let hook = Hook::shell("exec sleep 1000", Duration::from_secs(1000));
    let error = run(&hook, &cancel).await.unwrap_err();
    assert!(error.is_cancelled(), "{error}");
}

#[tokio::test]
async fn a_child_that_keeps_the_output_open_holds_nobody_up() {
    let hook = Hook::shell("sleep 30 & echo started", Duration::from_secs(25));
    let begun = std::time::Instant::now();
    run(&hook, &CancellationToken::new()).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn programs_that_cannot_be_run_are_named() {
    let root = tempfile::tempdir().unwrap();
    let script = |name: &str, text: &str, mode: u32| {
        let path = root.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        path.display().to_string()
    };
    let plain = script("plain", "#!/bin/sh\n", 0o644);
    let open = script("open", "#!/bin/sh\n", 0o777);
    let lost = script("lost", "#!/no/such/interpreter\n", 0o755);
    let result = async |program: &str| {
        let hook = Hook::program(vec![program.to_owned(), "x".into()], Duration::from_secs(9));
        run(&hook, &CancellationToken::new()).await.unwrap_err()
    };
    let missing = result("no-such-program").await;
    assert!(
        missing
            .to_string()
            .contains("no program no-such-program in /usr/bin:/bin"),
        "{missing}"
    );
    assert!(matches!(
        result("/no/such").await,
        HookError::NotFound { .. }
    ));
    assert!(matches!(
        result("/tmp").await,
        HookError::NotExecutable { .. } | HookError::Unsafe { .. }
    ));
    assert!(matches!(
        result(&plain).await,
        HookError::NotExecutable { .. }
    ));
    assert!(matches!(result(&open).await, HookError::Unsafe { .. }));
    let lost = result(&lost).await;
    assert!(lost.hint().unwrap().contains("interpreter"), "{lost}");
    let hook = Hook::shell("kill -9 $$", Duration::from_secs(9));
    let killed = run(&hook, &CancellationToken::new()).await.unwrap_err();
    assert!(
        killed.to_string().ends_with("ended with signal 9"),
        "{killed}"
    );
}

async fn run(hook: &Hook, cancel: &CancellationToken) -> Result<(), HookError> {
    let variables = [("PATH".to_owned(), OsString::from("/usr/bin:/bin"))];
    hook.run(&variables, &Events::silent(), cancel).await
}

#[tokio::test]
async fn commands_see_what_is_theirs_and_shared_ones_run_once() {
    let machine = Machine::new();
    let other: CertId = "b.test".parse().unwrap();
    let version = machine.version(1).await;
    let of_other = machine.version_of(&other, 1).await;
    let (shared, each) = (machine.path("shared"), machine.path("each"));
    let targets = [
        Target {
            label: "shared".into(),
            ..target(
                vec![],
                Some(&format!("env >> {}; echo >> {0}", shared.display())),
            )
        },
        Target {
            label: "each".into(),
            each: true,
            ..target(vec![], Some(&format!("env >> {}", each.display())))
        },
    ];
    let run = machine.deployer.begin().unwrap();
    let cancel = CancellationToken::new();
    let (one, two) = tokio::join!(
        run.certificate(&machine.id, &version, &targets, false, &cancel),
        run.certificate(&other, &of_other, &targets, false, &cancel),
    );
    assert_eq!(done(&one.unwrap()), [Done::Waiting, Done::Deployed]);
    two.unwrap();
    assert!(!shared.exists());
    assert_eq!(run.finish(&cancel).await.unwrap().len(), 2);
    let lines = |text: String, name: &str| -> Vec<String> {
        let begin = format!("{name}=");
        let found = text.lines().filter_map(|line| line.strip_prefix(&begin));
        let mut found: Vec<String> = found.map(str::to_owned).collect();
        found.sort();
        found
    };
    assert_eq!(
        lines(machine.text("each"), "RENEWED_DOMAINS"),
        ["a.test", "b.test"]
    );
    let lineage = lines(machine.text("each"), "RENEWED_LINEAGE");
    assert_eq!(
        lineage[0],
        machine.path("live/a.test").display().to_string()
    );
    let domains = lines(machine.text("shared"), "RENEWED_DOMAINS");
    assert_eq!(domains.len(), 1, "once for both");
    assert_eq!(domains[0].len(), "a.test b.test".len());
    // Nothing of this process's environment.
    assert!(lines(machine.text("shared"), "HOME").is_empty());
    assert!(lines(machine.text("shared"), "CARGO_MANIFEST_DIR").is_empty());

    let states = machine.deployer.state.load().unwrap();
    let states = states.deployment_state(&other, &of_other, &targets);
    assert!(
        states
            .iter()
            .all(|state| state.standing == Standing::Deployed)
    );
}

#[tokio::test]
async fn two_runs_at_once_deploy_once() {
    let machine = Machine::new();
    let version = machine.version(1).await;
    let count = machine.path("count");
    let targets = [Target {
        each: true,
        ..target(
            machine.pair(),
            Some(&format!("echo x >> {}", count.display())),
        )
    }];
    let runs = (0..4).map(|_| machine.deploy(&version, &targets));
    let ran = futures::future::join_all(runs).await;
    let deployed = ran.iter().filter(|o| done(o) == [Done::Deployed]).count();
    assert_eq!(deployed, 1);
    assert_eq!(machine.text("count").lines().count(), 1);
}

#[test]
fn a_hook_directory_has_executables_and_nothing_that_others_write() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("hooks.d/deploy");
    std::fs::create_dir_all(&dir).unwrap();
    let script = |name: &str, mode: u32| {
        let path = dir.join(name);
        std::fs::write(&path, "").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    for (name, mode) in [
        ("20-b", 0o755),
        ("10-a", 0o755),
        ("README", 0o644),
        ("10-a~", 0o755),
    ] {
        script(name, mode);
    }
    let hooks = HookDirectory {
        path: root.path().join("hooks.d"),
        timeout: Duration::from_secs(1),
    };
    let names = |kind| -> Vec<String> {
        let scripts = hooks.scripts(kind).unwrap();
        scripts.into_iter().map(|(name, _)| name).collect()
    };
    assert_eq!(names(HookKind::Deploy), ["10-a", "20-b"]);
    assert!(names(HookKind::Pre).is_empty());
    script("30-c", 0o777);
    assert!(matches!(
        hooks.scripts(HookKind::Deploy),
        Err(FileError::Unsafe { .. })
    ));
    let gone = HookDirectory {
        path: Path::new("/no/such").into(),
        ..hooks
    };
    assert!(gone.scripts(HookKind::Pre).is_err());
}
