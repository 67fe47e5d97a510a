//! What is written, and what becomes of it.

use super::*;

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
