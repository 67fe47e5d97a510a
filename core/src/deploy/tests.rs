//! Targets on a real file system, with real programs.

use std::ffi::OsString;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::json;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::event::Events;
use crate::store::CertId;
use crate::store::DirectoryStore;
use crate::store::FileError;
use crate::store::Key;
use crate::store::Mode;
use crate::store::StoreError;
use crate::store::Version;
use crate::store::VersionFile;

/// A machine with a store, and a directory for what is deployed.
struct Machine {
    root: TempDir,
    deployer: Deployer,
    id: CertId,
}

impl Machine {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(&root.path().join("store")).unwrap();
        let machine = Self {
            deployer: Deployer {
                store: Arc::new(store),
                live: Live::new(&root.path().join("live")).unwrap(),
                state: LocalState::new(&root.path().join("local.json")),
                variables: vec![("PATH".into(), "/usr/bin:/bin".into())],
                events: Events::silent(),
            },
            id: "a.test".parse().unwrap(),
            root,
        };
        std::fs::create_dir(machine.path("etc")).unwrap();
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    async fn version(&self, number: u32) -> Version {
        self.version_of(&self.id, number).await
    }

    async fn version_of(&self, id: &CertId, number: u32) -> Version {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec![id.to_string()]).unwrap();
        params.serial_number = Some(u64::from(number).into());
        let certificate = params.self_signed(&key).unwrap();
        for (file, text) in [
            (VersionFile::Key, key.serialize_pem()),
            (VersionFile::FullChain, certificate.pem()),
        ] {
            let at = Key::version(id, number, file);
            let store = &self.deployer.store;
            store.put_if_absent(&at, text.into_bytes()).await.unwrap();
        }
        serde_json::from_value(json!({
            "number": number, "names": [id], "key_type": "ecdsa-p256",
            "directory": "", "account": "", "order": "",
            "issued": "2026-01-01T00:00:00Z", "not_before": "2026-01-01T00:00:00Z",
            "not_after": "2026-04-01T00:00:00Z", "serial": format!("0{number}"), "issuer": "CA",
        }))
        .unwrap()
    }

    async fn deploy(&self, version: &Version, targets: &[Target]) -> Vec<Outcome> {
        let run = self.deployer.begin().unwrap();
        let cancel = CancellationToken::new();
        let mut outcomes = run
            .certificate(&self.id, version, targets, false, &cancel)
            .await
            .unwrap();
        let finished = run.finish(&cancel).await.unwrap();
        outcomes.retain(|o| !matches!(o.result, Ok(Done::Waiting)));
        outcomes.extend(finished);
        outcomes
    }

    fn state(&self, version: &Version, targets: &[Target]) -> Vec<Standing> {
        let snapshot = self.deployer.state.load().unwrap();
        let states = snapshot.deployment_state(&self.id, version, targets);
        states.into_iter().map(|state| state.standing).collect()
    }

    fn pair(&self) -> Vec<TargetFile> {
        vec![
            self.file("etc/key.pem", Content::Key),
            self.file("etc/fullchain.pem", Content::FullChain),
        ]
    }

    fn file(&self, name: &str, content: Content) -> TargetFile {
        TargetFile {
            path: self.path(name),
            content,
            access: Access::default(),
        }
    }

    /// Key and certificate that stand in `etc`, as the store has them.
    async fn assert_pair_is(&self, version: &Version) {
        let material = Material::read(&*self.deployer.store, &self.id, version)
            .await
            .unwrap();
        let bundle = material.bundle();
        use secrecy::ExposeSecret;
        assert_eq!(
            self.text("etc/key.pem"),
            bundle.privkey.unwrap().expose_secret()
        );
        assert_eq!(self.text("etc/fullchain.pem"), bundle.fullchain);
        let entries = std::fs::read_dir(self.path("etc")).unwrap();
        let names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        assert!(
            !names.iter().any(|n| n.to_string_lossy().contains("tmp")),
            "{names:?}"
        );
    }
}

fn target(files: Vec<TargetFile>, shell: Option<&str>) -> Target {
    Target {
        label: "t".into(),
        files,
        command: shell.map(|text| Hook::shell(text, Duration::from_secs(60))),
        each: false,
    }
}

fn error(outcomes: &[Outcome]) -> &TargetError {
    let [outcome] = outcomes else {
        panic!("{outcomes:?}")
    };
    outcome.result.as_ref().unwrap_err()
}

fn done(outcomes: &[Outcome]) -> Vec<Done> {
    let one = |o: &Outcome| *o.result.as_ref().unwrap();
    outcomes.iter().map(one).collect()
}

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

#[tokio::test]
async fn what_somebody_has_done_to_a_file_is_undone() {
    let machine = Machine::new();
    let version = machine.version(1).await;
    let targets = [target(machine.pair(), None)];
    machine.deploy(&version, &targets).await;
    let path = machine.path("etc/fullchain.pem");
    let is_due = || {
        let run = machine.deployer.begin().unwrap();
        run.is_due(&machine.id, &version, &targets)
    };
    // Of the same length, so that only the time tells.
    let text = machine.text("etc/fullchain.pem").replace("BEGIN", "begin");
    for altered in [Some(text), Some("shorter".to_owned()), None] {
        assert!(!is_due());
        match altered {
            Some(text) => std::fs::write(&path, text).unwrap(),
            None => std::fs::remove_file(&path).unwrap(),
        }
        assert!(is_due());
        let altered = Standing::Altered { path: path.clone() };
        assert_eq!(machine.state(&version, &targets), [altered]);
        let deployed = machine.deploy(&version, &targets).await;
        assert_eq!(done(&deployed), [Done::Deployed]);
        machine.assert_pair_is(&version).await;
    }
    // Who only touches it has changed nothing.
    let now = std::time::SystemTime::now() + Duration::from_secs(5);
    let file = std::fs::File::open(&path).unwrap();
    file.set_modified(now).unwrap();
    assert!(!is_due());
    assert_eq!(machine.state(&version, &targets), [Standing::Deployed]);
}

#[tokio::test]
async fn damage_in_the_store_is_told_from_what_is_as_it_was_left() {
    let machine = Machine::new();
    let store = DirectoryStore::open(&machine.path("store")).unwrap();
    let store = crate::store::SealedStore::new(store, crate::store::StoreKeeper::nobody());
    let version = Version {
        issued: jiff::Timestamp::now(),
        ..machine.version(1).await
    };
    let damage = || Material::damage(&store, &machine.id, &version).unwrap();
    assert_eq!(damage(), None);
    let file = |name: &str| {
        machine
            .path("store/certificates/a.test/versions")
            .join(name)
    };
    let later = std::time::SystemTime::now() + Duration::from_secs(3600);
    let touch = |path: &Path| {
        let file = std::fs::File::open(path).unwrap();
        file.set_modified(later).unwrap();
    };
    let chain = file("0001.fullchain.pem");
    touch(&chain);
    assert_eq!(damage(), None, "it was only touched");
    let whole = std::fs::read_to_string(&chain).unwrap();
    for broken in [&whole[..whole.len() / 2], "", "junk"] {
        std::fs::write(&chain, broken).unwrap();
        touch(&chain);
        let what = damage().unwrap();
        assert!(what.contains("0001.fullchain.pem"), "{what}");
    }
    std::fs::write(&chain, &whole).unwrap();
    std::fs::remove_file(file("0001.privkey.pem")).unwrap();
    let what = damage().unwrap();
    assert!(what.contains("it is not there"), "{what}");
}

#[tokio::test]
async fn a_version_of_a_certificate_that_was_deleted_and_issued_again_is_another() {
    let machine = Machine::new();
    let version = machine.version(1).await;
    let targets = [target(machine.pair(), None)];
    machine.deploy(&version, &targets).await;
    let again = Version {
        serial: "ff".into(),
        ..version.clone()
    };
    assert_eq!(machine.state(&again, &targets), [Standing::Due]);
    machine.deployer.state.forget(&machine.id).await.unwrap();
    assert_eq!(machine.state(&version, &targets), [Standing::Due]);
}

#[tokio::test]
async fn state_that_cannot_be_read_is_put_aside_and_newer_state_is_left_alone() {
    let machine = Machine::new();
    let version = machine.version(1).await;
    let targets = [target(machine.pair(), None)];
    machine.deploy(&version, &targets).await;
    let whole = machine.text("local.json");
    for broken in [&whole[..whole.len() / 2], "", "[]"] {
        std::fs::write(machine.path("local.json"), broken).unwrap();
        let problems = machine.deployer.state.load().unwrap().problems;
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(
            done(&machine.deploy(&version, &targets).await),
            [Done::Deployed]
        );
        assert_eq!(machine.text("local.json.unreadable"), broken);
        assert_eq!(machine.state(&version, &targets), [Standing::Deployed]);
    }

    // What is wrong with one certificate is no other's business.
    let mut document: serde_json::Value =
        serde_json::from_str(&machine.text("local.json")).unwrap();
    document["certificates"]["b.test"] = json!({ "targets": 7 });
    std::fs::write(machine.path("local.json"), document.to_string()).unwrap();
    assert_eq!(machine.state(&version, &targets), [Standing::Deployed]);
    assert_eq!(machine.deployer.state.load().unwrap().problems.len(), 1);

    let newer = whole.replace("\"schema\": 1", "\"schema\": 99");
    let of_another_shape = r#"{"schema": 2, "certificates": ["a.test"]}"#.to_owned();
    for newer in [newer, of_another_shape] {
        std::fs::write(machine.path("local.json"), &newer).unwrap();
        let refused = machine.deployer.begin().unwrap_err();
        assert!(matches!(refused, StoreError::Newer { .. }), "{refused}");
        assert_eq!(machine.text("local.json"), newer);
    }
}

#[tokio::test]
async fn files_that_cannot_be_written_leave_the_others_as_they_are() {
    let machine = Machine::new();
    let first = machine.version(1).await;
    let second = machine.version(2).await;
    let good = [target(machine.pair(), None)];
    machine.deploy(&first, &good).await;

    let with = |name: &str| {
        let mut files = machine.pair();
        files.push(machine.file(name, Content::Combined));
        [target(files, None)]
    };
    let outcomes = machine.deploy(&second, &with("gone/x.pem")).await;
    assert!(matches!(error(&outcomes), TargetError::NoDirectory { .. }));
    machine.assert_pair_is(&first).await;

    std::os::unix::fs::symlink("/nowhere", machine.path("etc/link.pem")).unwrap();
    std::os::unix::fs::symlink("etc", machine.path("link")).unwrap();
    for name in ["etc/link.pem", "link/x.pem"] {
        let outcomes = machine.deploy(&second, &with(name)).await;
        let error = error(&outcomes);
        assert!(
            matches!(error, TargetError::File(FileError::Link { .. })),
            "{name}: {error}"
        );
        machine.assert_pair_is(&first).await;
    }
    std::fs::remove_file(machine.path("etc/link.pem")).unwrap();

    let mode = |name: &str, mode| {
        let permissions = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(machine.path(name), permissions).unwrap();
    };
    std::fs::create_dir_all(machine.path("open/below")).unwrap();
    for (open, name) in [("open", "open/x.pem"), ("open", "open/below/x.pem")] {
        mode(open, 0o777);
        let outcomes = machine.deploy(&second, &with(name)).await;
        let error = error(&outcomes);
        assert!(
            matches!(error, TargetError::File(FileError::Unsafe { .. })),
            "{name}: {error}"
        );
        assert!(!machine.path(name).exists());
        machine.assert_pair_is(&first).await;
    }
    mode("open", 0o755);
    std::fs::create_dir(machine.path("etc/dir.pem")).unwrap();
    let outcomes = machine.deploy(&second, &with("etc/dir.pem")).await;
    assert!(error(&outcomes).to_string().contains("directory"));
    machine.assert_pair_is(&first).await;
    std::fs::remove_dir(machine.path("etc/dir.pem")).unwrap();

    machine.deploy(&second, &good).await;
    machine.assert_pair_is(&second).await;
}

#[tokio::test]
async fn a_full_disk_loses_nothing() {
    let machine = Machine::new();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=20k,mode=0755", "tmpfs"])
        .arg(machine.path("etc"))
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: a full disk needs a small tmpfs, which only root mounts");
        return;
    }
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = std::process::Command::new("umount").arg(&self.0).status();
        }
    }
    let _mounted = Mounted(machine.path("etc"));
    let first = machine.version(1).await;
    let second = machine.version(2).await;
    let targets = [target(machine.pair(), None)];
    machine.deploy(&first, &targets).await;
    // Whatever room is left: it is gone.
    let filled = std::fs::write(machine.path("etc/filler"), vec![0; 64 * 1024]);
    assert!(filled.is_err());
    let outcomes = machine.deploy(&second, &targets).await;
    let TargetError::File(full) = error(&outcomes) else {
        panic!("{outcomes:?}")
    };
    assert!(full.is_storage_full(), "{full}");
    machine.assert_pair_is(&first).await;
    std::fs::remove_file(machine.path("etc/filler")).unwrap();
    machine.deploy(&second, &targets).await;
    machine.assert_pair_is(&second).await;
}

#[tokio::test]
async fn modes_are_chosen_or_kept_and_keys_are_for_nobody_else() {
    let machine = Machine::new();
    let mode = |name: &str| std::fs::metadata(machine.path(name)).unwrap().mode() & 0o777;
    let mut chosen = machine.file("etc/chosen.pem", Content::Combined);
    chosen.access.mode = Some(Mode(0o440));
    let mut files = machine.pair();
    files.push(chosen);
    let targets = [target(files, None)];
    machine.deploy(&machine.version(1).await, &targets).await;
    assert_eq!(mode("etc/key.pem"), 0o600);
    assert_eq!(mode("etc/fullchain.pem"), 0o644);
    assert_eq!(mode("etc/chosen.pem"), 0o440);
    for name in ["etc/key.pem", "etc/fullchain.pem"] {
        let permissions = std::fs::Permissions::from_mode(0o646);
        std::fs::set_permissions(machine.path(name), permissions).unwrap();
    }
    machine.deploy(&machine.version(2).await, &targets).await;
    assert_eq!(mode("etc/key.pem"), 0o640);
    assert_eq!(mode("etc/fullchain.pem"), 0o644);

    let mut unknown = machine.file("etc/x.pem", Content::Cert);
    unknown.access.group = Some("no-such-group".into());
    let outcomes = machine
        .deploy(&machine.version(3).await, &[target(vec![unknown], None)])
        .await;
    assert!(matches!(error(&outcomes), TargetError::Access(_)));
}

#[tokio::test]
async fn openssl_opens_the_pkcs12_file() {
    let machine = Machine::new();
    let version = machine.version(1).await;
    let password = "pa ss-wörd";
    let pkcs12 = |password: &str| {
        let content = Content::Pkcs12 {
            password: SecretString::from(password),
        };
        [target(vec![machine.file("etc/a.p12", content)], None)]
    };
    machine.deploy(&version, &pkcs12(password)).await;
    let open = |password: &str| {
        std::process::Command::new("openssl")
            .args(["pkcs12", "-nodes", "-in"])
            .arg(machine.path("etc/a.p12"))
            .args(["-passin", &format!("pass:{password}")])
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap()
    };
    let opened = open(password);
    let text = String::from_utf8_lossy(&opened.stdout).into_owned();
    assert!(opened.status.success(), "{opened:?}");
    assert!(text.contains("friendlyName: a.test"), "{text}");
    assert!(text.contains("BEGIN PRIVATE KEY"), "{text}");
    assert!(!open("wrong").status.success());

    // Another password is another target, and no password is written down.
    assert_eq!(
        done(&machine.deploy(&version, &pkcs12(password)).await),
        [Done::Had]
    );
    assert_eq!(
        done(&machine.deploy(&version, &pkcs12("other")).await),
        [Done::Deployed]
    );
    assert!(open("other").status.success());
    assert!(!machine.text("local.json").contains("other"));
}

/// Whether the process whose number stands in this file has come to its end, or comes to it soon.
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
async fn keytool_opens_the_pkcs12_file() {
    let machine = Machine::new();
    let version = machine.version(1).await;
    let content = Content::Pkcs12 {
        password: SecretString::from("change it"),
    };
    let file = machine.file("etc/a.p12", content);
    machine.deploy(&version, &[target(vec![file], None)]).await;
    let list = |password: &str| {
        std::process::Command::new(std::env::var("DNSEAL_KEYTOOL").unwrap_or("keytool".into()))
            .args([
                "-list",
                "-v",
                "-storetype",
                "PKCS12",
                "-storepass",
                password,
            ])
            .arg("-keystore")
            .arg(machine.path("etc/a.p12"))
            .env("LC_ALL", "C.UTF-8")
            .output()
    };
    let opened = match list("change it") {
        Ok(opened) => opened,
        Err(error) => {
            let required = std::env::var("DNSEAL_TESTS_REQUIRE_PEERS").is_ok_and(|v| v == "1");
            assert!(!required, "keytool: {error}");
            eprintln!("SKIPPED: keytool (default-jre-headless) is not installed");
            return;
        }
    };
    let text = String::from_utf8_lossy(&opened.stdout);
    assert!(opened.status.success(), "{opened:?}");
    assert!(text.contains("Alias name: a.test"), "{text}");
    assert!(text.contains("Entry type: PrivateKeyEntry"), "{text}");
    assert!(!list("wrong one").unwrap().status.success());
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
