//! Targets on a real file system, with real programs.

mod commands;
mod files;

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
