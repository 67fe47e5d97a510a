//! What goes wrong with scripts, what they see and what they leave.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dnseal_core::dns::ProviderError;
use dnseal_providers::{Context, Settings, acmesh};
use dnseal_tests::{NameServer, added, removed, txt_values};
use tempfile::TempDir;

use crate::scripts::Scripts;
use crate::{OWNER, Server, home, provider, zone};

#[tokio::test(flavor = "multi_thread")]
async fn each_failure_has_an_error_of_its_own() {
    let (Some(home), Some(server)) = (home(), Server::start(&[])) else {
        return;
    };
    let scripts = Scripts::new(&home);
    let apply = async |script: &str, more: &[(&'static str, &str)]| {
        let store = TempDir::new().unwrap();
        let settings = [&[("timeout", "20")], more].concat();
        let script = format!("dns_{script}");
        let provider = provider(
            &script,
            &scripts.path(),
            server.addr(),
            store.path(),
            &settings,
        );
        let applied = provider.apply(&zone(), &[added(OWNER, "a")]).await;
        let error = applied.unwrap_err();
        eprintln!("{script}: {error}\n  hint: {:?}", error.hint());
        error
    };
    let error = apply("fails", &[]).await;
    let text = error.to_string();
    assert!(matches!(error, ProviderError::Refused { .. }), "{error:?}");
    assert!(text.contains("acme.sh's dns_fails"), "{text}");
    assert!(text.contains("No such zone.; Please make one."), "{text}");

    let error = apply("prompts", &[]).await;
    assert!(error.to_string().contains("nobody answered"), "{error}");

    let error = apply("hangs", &[("timeout", "1")]).await;
    assert!(matches!(error, ProviderError::Failed { .. }), "{error:?}");

    let error = apply("fetches", &[]).await;
    assert!(
        matches!(error, ProviderError::Unreachable { .. }),
        "{error:?}"
    );

    let error = apply("lacks", &[]).await;
    assert!(
        matches!(error, ProviderError::Misconfigured { .. }),
        "{error:?}"
    );
    assert!(
        error
            .hint()
            .unwrap()
            .contains("`program-that-is-not-there`")
    );

    let error = apply("later", &[]).await;
    let text = error.to_string();
    assert!(
        text.contains("the function `_function_of_a_later_acme_sh`"),
        "{text}"
    );
    let hint = error.hint().unwrap();
    assert!(hint.contains("version"), "{hint}");

    let error = apply(
        "leaks",
        &[
            ("env.TEST_Token", "canary-token"),
            ("env.TEST_SERVER", "ns1.test"),
        ],
    )
    .await;
    assert!(
        error.to_string().contains("[redacted] at ns1.test"),
        "{error}"
    );

    // A machine with everything but curl and wget.
    let bin = TempDir::new().unwrap();
    for program in [
        "cat", "cut", "date", "dirname", "basename", "grep", "mkdir", "sed", "touch", "tr",
    ] {
        std::os::unix::fs::symlink(
            Path::new("/usr/bin").join(program),
            bin.path().join(program),
        )
        .unwrap();
    }
    let path = bin.path().display().to_string();
    let error = apply("fetches", &[("env.PATH", &path)]).await;
    assert!(
        matches!(error, ProviderError::Misconfigured { .. }),
        "{error:?}"
    );
    assert!(error.hint().unwrap().contains("install curl"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_removed() {
    let (Some(home), Some(server)) = (home(), Server::start(&[])) else {
        return;
    };
    let scripts = Scripts::new(&home);
    let store = TempDir::new().unwrap();
    let none: [(&str, &str); 0] = [];
    let provider = provider(
        "dns_absent",
        &scripts.path(),
        server.addr(),
        store.path(),
        &none,
    );
    provider
        .apply(&zone(), &[removed(OWNER, "a")])
        .await
        .unwrap();
    // What is there, and stays, is not.
    server.bind.add_txt(&server.key, crate::ZONE, OWNER, "b");
    let error = provider
        .apply(&zone(), &[removed(OWNER, "b")])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("there is no b"), "{error}");
}

/// An SPF record would not survive scripts that put values into patterns and lists of words.
#[tokio::test(flavor = "multi_thread")]
async fn where_other_records_stand_nothing_is_written() {
    let (Some(home), Some(server)) = (home(), Server::start(&["@ TXT \"v=spf1 -all\""])) else {
        return;
    };
    let store = TempDir::new().unwrap();
    let provider = provider(
        "dns_nsupdate",
        &home,
        server.addr(),
        store.path(),
        &server.settings(),
    );
    for change in [added(crate::ZONE, "a"), removed(crate::ZONE, "apex")] {
        let error = provider.apply(&zone(), &[change]).await.unwrap_err();
        assert!(
            matches!(error, ProviderError::Unsupported { .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("v=spf1"), "{error}");
    }
    assert_eq!(txt_values(server.addr(), crate::ZONE).len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_script_saves_is_there_next_time_and_private() {
    let (Some(home), Some(server)) = (home(), Server::start(&[])) else {
        return;
    };
    let scripts = Scripts::new(&home);
    let store = TempDir::new().unwrap();
    let with = |settings: &[(&'static str, &str)]| {
        provider(
            "dns_saves",
            &scripts.path(),
            server.addr(),
            store.path(),
            settings,
        )
    };
    let none: [(&str, &str); 0] = [];
    let error = with(&none)
        .apply(&zone(), &[added(OWNER, "a")])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no token"), "{error}");
    let first = with(&[("env.TEST_Token", "canary-token")]);
    first.apply(&zone(), &[added(OWNER, "a")]).await.unwrap();
    // Another process, to which nobody has told the token.
    let error = with(&none)
        .apply(&zone(), &[added(OWNER, "a")])
        .await
        .unwrap_err();
    assert!(error.to_string().contains("seen before"), "{error}");
    with(&none)
        .apply(&zone(), &[removed(OWNER, "a")])
        .await
        .unwrap();
    // Each domain has a configuration of its own.
    let other = format!("_acme-challenge.other.{}", crate::ZONE);
    with(&none)
        .apply(&zone(), &[added(&other, "a")])
        .await
        .unwrap();

    let file = store.path().join("providers/acme.sh/dns_saves.test.json");
    let mode = fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(fs::read_to_string(&file).unwrap().contains("canary-token"));
    let left = fs::read_dir(std::env::temp_dir())
        .unwrap()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name().into_string().unwrap_or_default();
            name.starts_with(&format!("dnseal-script-{}-", std::process::id()))
        });
    assert_eq!(left.count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_sees_its_own_variables_alone_and_runs_as_who_it_should() {
    let (Some(home), Some(server)) = (home(), Server::start(&[])) else {
        return;
    };
    let scripts = Scripts::new(&home);
    let told = TempDir::new().unwrap();
    fs::set_permissions(told.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let place = told.path().display().to_string();
    let store = TempDir::new().unwrap();
    let apply = async |more: &[(&'static str, &str)]| {
        let settings = [&[("env.TEST_SERVER", place.as_str())], more].concat();
        let provider = provider(
            "dns_tells",
            &scripts.path(),
            server.addr(),
            store.path(),
            &settings,
        );
        provider.apply(&zone(), &[added(OWNER, "a")]).await.unwrap();
        let read = |name: &str| {
            let path = told.path().join(name);
            let text = fs::read_to_string(&path).unwrap();
            fs::remove_file(path).unwrap();
            text.trim().to_owned()
        };
        [read("env"), read("user"), read("pwd")]
    };
    let [env, user, pwd] = apply(&[]).await;
    // What it is found by is the only variable of ours.
    let ours: Vec<&str> = env.lines().filter(|n| n.starts_with("DNSEAL")).collect();
    assert_eq!(ours, ["DNSEAL_COMMAND_ID"], "{env}");
    assert!(!env.contains("CARGO"), "{env}");
    assert!(env.contains("TEST_SERVER"), "{env}");
    assert_eq!(user, rustix_user());
    assert!(
        pwd.contains("dnseal-script-") && !Path::new(&pwd).exists(),
        "{pwd}"
    );
    if user == "0" {
        // It need not be able to read where acme.sh is.
        fs::set_permissions(scripts.path(), fs::Permissions::from_mode(0o700)).unwrap();
        let [_, user, _] = apply(&[("user", "65534")]).await;
        assert_eq!(user, "65534");
    }
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let Some(home) = home() else { return };
    let home = home.display().to_string();
    let error = |more: &[(&str, &str)]| {
        let mut given = Settings::new();
        for (key, value) in [("home", home.as_str()), ("script", "dns_cf")]
            .iter()
            .chain(more)
        {
            given.insert(*key, (*value).into());
        }
        let built = dnseal_providers::build("acme.sh", "test", given, &Context::default());
        let error = built.unwrap_err();
        format!("{error}\n{}", error.hint().unwrap_or_default())
    };
    assert!(error(&[("script", "dns_cff")]).contains("did you mean `dns_cf`?"));
    assert!(error(&[("script", "../../../../etc/passwd")]).contains("there is no script"));
    assert!(error(&[("home", "/nowhere")]).contains("there is no acme.sh in /nowhere"));
    assert!(error(&[("home", "acme.sh")]).contains("no absolute path"));
    assert!(error(&[("user", "no such user")]).contains("there is no user"));
    assert!(error(&[("max-values", "0")]).contains("`max-values`"));
    assert!(error(&[("env.A B", "1")]).contains("no name of a variable"));
    assert!(error(&[("env.HTTPS_INSECURE", "1")]).contains("env.CA_BUNDLE"));
    assert!(error(&[("env.DA_Api_Insecure", "1")]).contains("env.CA_BUNDLE"));
    let copy = TempDir::new().unwrap();
    fs::copy(format!("{home}/acme.sh"), copy.path().join("acme.sh")).unwrap();
    let script = copy.path().join("dns_cf.sh");
    fs::copy(format!("{home}/dnsapi/dns_cf.sh"), &script).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o666)).unwrap();
    let path = copy.path().display().to_string();
    assert!(error(&[("home", &path)]).contains("may be changed by others"));
}

#[test]
fn every_script_there_is_can_be_described() {
    let Some(home) = home() else { return };
    let home = home.display().to_string();
    let scripts = acmesh::scripts(Some(&home)).unwrap();
    assert!(scripts.len() >= 179, "{}", scripts.len());
    for script in &scripts {
        let kind = acmesh::describe(&script.name, Some(&home)).unwrap();
        assert!(kind.title.contains(&script.name), "{}", kind.title);
        assert!(
            !script.title.is_empty() && !script.title.starts_with("dns_"),
            "{script:?}"
        );
        // The one that takes no setting but what is there already.
        if script.variables.is_empty() {
            eprintln!("no variables: {}", script.name);
        }
    }
    let of = |name: &str| scripts.iter().find(|s| s.name == name).unwrap().removal;
    for name in [
        "dns_nsupdate",
        "dns_aws",
        "dns_nsone",
        "dns_linode_v4",
        "dns_zone",
        "dns_duckdns",
    ] {
        assert_eq!(of(name), acmesh::Removal::More, "{name}");
    }
    for name in ["dns_cf", "dns_pdns", "dns_ovh", "dns_gandi_livedns"] {
        assert_eq!(of(name), acmesh::Removal::Value, "{name}");
    }
    assert_eq!(of("dns_acmedns"), acmesh::Removal::Nothing);
    let more = scripts
        .iter()
        .filter(|s| s.removal == acmesh::Removal::More)
        .count();
    eprintln!(
        "{more} of {} remove more than they are told to",
        scripts.len()
    );
    assert!((25..=80).contains(&more), "{more}");
}

fn rustix_user() -> String {
    use std::os::unix::fs::MetadataExt;
    fs::metadata("/proc/self").unwrap().uid().to_string()
}
