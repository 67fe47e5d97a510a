//! The contracts of other tools, with small real scripts over `nsupdate` and a small real server: the conformance suite on BIND, and
//! base plus wildcard from Pebble through each.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "helpers of tests, which clippy does not count among the tests"
)]

mod canary;
mod left;
mod scripts;
mod server;

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use dnseal_core::dns::{DnsProvider, ProviderError, Zone};
use dnseal_providers::conformance::{self, Outcome, Peculiar};
use dnseal_tests::{
    Bind, BindOptions, Dnseal, Misbehaving, NameServer, Pebble, PebbleOptions, TsigKey, ZoneSpec,
    added, build, name, reader, removed, silence, txt_values,
};
use tempfile::TempDir;

use crate::scripts::Scripts;
use crate::server::Server;

const ZONE: &str = "example.test";
const OWNER: &str = "_acme-challenge.example.test";
const BOTH: [&str; 2] = ["example.test", "*.example.test"];
/// What no such contract can do.
const NEVER: [&str; 4] = [
    "sixteen-writers-at-one-name",
    "own-word-agrees",
    "deepest-zone",
    "unknown-zone",
];

#[tokio::test(flavor = "multi_thread")]
async fn exec_conforms() {
    let Some((bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let provider = scripts.provider("exec", &[("command", scripts.path("exec"))]);
    let silent = scripts.silent("exec", "command");
    conforms(
        &bind,
        &*provider,
        None,
        &["bad-credentials"],
        slow(&*silent),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certbot_hooks_conform() {
    let Some((bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let hooks = [
        ("auth-hook", scripts.path("auth")),
        ("cleanup-hook", scripts.path("cleanup")),
    ];
    let provider = scripts.provider("certbot-hook", &hooks);
    let hanging = [
        ("auth-hook", scripts.path("hangs")),
        ("cleanup-hook", scripts.path("hangs")),
        ("timeout", "1".to_owned()),
    ];
    let silent = scripts.provider("certbot-hook", &hanging);
    conforms(
        &bind,
        &*provider,
        None,
        &["bad-credentials", "apex-as-owner"],
        slow(&*silent),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dehydrated_hook_conforms() {
    let Some((bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let provider = scripts.provider(
        "dehydrated-hook",
        &[("command", scripts.path("dehydrated"))],
    );
    conforms(
        &bind,
        &*provider,
        None,
        &["bad-credentials", "apex-as-owner"],
        slow(&*scripts.silent("dehydrated-hook", "command")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_chain_conforms() {
    let Some((bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let chain = [
        ("command", scripts.path("chain")),
        ("chain", "yes".to_owned()),
        // Hundreds of names in one call are hundreds of processes.
        ("timeout", "10m".to_owned()),
    ];
    let provider = scripts.provider("dehydrated-hook", &chain);
    conforms(
        &bind,
        &*provider,
        None,
        &["bad-credentials", "apex-as-owner"],
        slow(&*scripts.silent("dehydrated-hook", "command")),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn httpreq_conforms() {
    let Some((bind, key)) = bind() else { return };
    let server = Server::start(bind.addr(), key).await;
    let kind = dnseal_providers::kind("httpreq").unwrap();
    let with = |password: &str| {
        let settings = [
            ("endpoint", server.url()),
            ("username", "user".to_owned()),
            ("password", password.to_owned()),
        ];
        build(kind, &settings)
    };
    let impostor = with("wrong");
    let (_silence, silent) = silence();
    let throttling = Server::start(bind.addr(), server.key()).await;
    throttling.answer_next(429, "slow down");
    let at = |url: String| {
        let settings = [
            ("endpoint", url),
            ("username", "user".to_owned()),
            ("password", server::PASSWORD.to_owned()),
            ("timeout", "1".to_owned()),
        ];
        build(kind, &settings)
    };
    let (silent, throttled) = (at(format!("http://{silent}")), at(throttling.url()));
    let failing = Peculiar {
        silent: Some(&*silent),
        throttled: Some(&*throttled),
        ..Peculiar::default()
    };
    let provider = with(server::PASSWORD);
    conforms(&bind, &*provider, Some(&*impostor), &[], failing).await;

    let owner = name(OWNER);
    let change = [added(OWNER, "a")];
    let zone = zone();
    server.answer_next(429, "slow down");
    let provider = with(server::PASSWORD);
    let error = provider.apply(&zone, &change).await.unwrap_err();
    assert_eq!(
        error.retry_after(),
        Some(Duration::from_secs(7)),
        "{error:?}"
    );
    server.answer_next(502, "<html>\r\nbad gateway");
    let applied = provider.apply(&zone, &change).await;
    let error = applied.unwrap_err();
    assert!(
        matches!(error, ProviderError::Unreachable { .. }),
        "{error:?}"
    );
    server.answer_next(400, "no such zone");
    let error = provider.apply(&zone, &change).await.unwrap_err();
    assert!(error.to_string().contains("no such zone"), "{error}");
    assert!(matches!(error, ProviderError::Refused { .. }), "{error:?}");
    assert!(provider.zone_of(&owner).await.is_err());
    // A server that sends back what it was sent.
    let basic = BASE64_STANDARD.encode(format!("user:{}", server::PASSWORD));
    let body = format!("bad auth: authorization: Basic {basic}\r\naccept: */*");
    server.answer_next(403, body.leak());
    let error = provider.apply(&zone, &change).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("Basic [redacted] accept"), "{error:?} {text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_that_fails_says_so() {
    let Some((_bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let apply = async |script: &str| {
        let settings = [
            ("command", scripts.path(script)),
            ("timeout", "1".to_owned()),
        ];
        let provider = scripts.provider("exec", &settings);
        let applied = provider.apply(&zone(), &[added(OWNER, "a")]).await;
        applied.unwrap_err()
    };
    let error = apply("fails").await;
    let text = error.to_string();
    assert!(
        text.contains("exit status: 3") && text.contains("no such zone"),
        "{text}"
    );
    assert!(!error.is_retryable());
    let error = apply("prompts").await;
    assert!(error.to_string().contains("nobody answered"), "{error}");
    let error = apply("hangs").await;
    assert!(matches!(error, ProviderError::Failed { .. }), "{error:?}");
    let error = apply("no-curl").await;
    assert!(
        error.to_string().contains("curl-that-is-not-there"),
        "{error}"
    );
    let error = apply("leaks").await;
    assert!(error.to_string().contains("[redacted]"), "{error}");
    // A second value of a batch that fails does not take the first with it.
    let provider = scripts.provider("exec", &[("command", scripts.path("fails-at-b"))]);
    let changes = [added(OWNER, "a"), added(OWNER, "b"), added(OWNER, "c")];
    let applied = provider.apply(&zone(), &changes).await.unwrap();
    use dnseal_core::dns::Outcome::{Applied, Refused};
    assert!(
        matches!(
            applied.outcomes.as_slice(),
            [Applied { .. }, Refused { .. }, Applied { .. }]
        ),
        "{applied:?}"
    );
}

#[test]
fn settings_that_do_not_fit_are_refused() {
    let error = |kind: &str, settings: &[(&str, &str)]| {
        let mut given = dnseal_providers::Settings::new();
        for (key, value) in settings {
            given.insert(*key, (*value).into());
        }
        let context = dnseal_providers::Context::default();
        let error = dnseal_providers::build(kind, "test", given, &context).unwrap_err();
        error.to_string()
    };
    assert!(error("exec", &[]).contains("`command` is missing"));
    assert!(error("exec", &[("command", "/nowhere/script")]).contains("/nowhere/script"));
    assert!(error("exec", &[("command", "script.sh")]).contains("no absolute path"));
    assert!(error("exec", &[("command", "/bin/true"), ("mode", "COOKED")]).contains("`COOKED`"));
    assert!(error("certbot-hook", &[("auth-hook", "/bin/true")]).contains("`cleanup-hook`"));
    assert!(error("httpreq", &[("endpoint", "ftp://a")]).contains("http"));
    assert!(error("httpreq", &[("endpoint", "http://u:p@a/")]).contains("credentials"));
    // The contents of another program's file are nobody's script.
    let plugin = Misbehaving::new("well-behaved");
    let script = plugin.command()[2].clone();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
    assert!(error("exec", &[("command", &script)]).contains("may be changed by others"));
}

#[test]
fn base_and_wildcard_through_each() {
    let Some((bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(bind.addr())) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let server = runtime.block_on(Server::start(bind.addr(), scripts.key().clone()));
    let raw_server = runtime.block_on(Server::start(bind.addr(), scripts.key().clone()));
    for config in each_contract(&scripts, &server, &raw_server) {
        let home = TempDir::with_prefix("dnseal-home-").unwrap();
        fs::write(home.path().join("dnseal.yaml"), &config).unwrap();
        let run = issue(home.path(), &bind, &pebble).run();
        assert_eq!(run.code(), 0, "{config}\n{run:?}");
        assert_eq!(
            txt_values(bind.addr(), OWNER),
            Vec::<String>::new(),
            "{config}"
        );
    }
    // Two triples in one call, and two to clean up.
    let chained = fs::read_to_string(scripts.path("chained")).unwrap();
    assert_eq!(chained, "deploy_challenge 6\nclean_challenge 6\n");
    // What certbot's hooks hear: the output of the first, and how many come after.
    let heard = fs::read_to_string(scripts.path("heard")).unwrap();
    let heard: BTreeSet<&str> = heard.lines().collect();
    let expected = [
        "auth example.test 0 example.test,example.test",
        "auth example.test 1 example.test,example.test",
        "cleanup example.test wrote it",
    ];
    assert_eq!(heard, expected.into());
}

/// Contracts that name the challenge and not the place have the probe where the challenge is, and all of them can be probed.
#[test]
fn a_doctor_probes_through_each() {
    let Some((bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let Some(pebble) = Pebble::start(PebbleOptions::new(bind.addr())) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let [server, raw_server] =
        [(); 2].map(|()| runtime.block_on(Server::start(bind.addr(), scripts.key().clone())));
    for config in each_contract(&scripts, &server, &raw_server) {
        let home = TempDir::with_prefix("dnseal-home-").unwrap();
        fs::write(home.path().join("dnseal.yaml"), &config).unwrap();
        let before = bind.updates(ZONE);
        let run = with_config("doctor", home.path(), &bind, &pebble)
            .args(["--output", "json"])
            .run();
        assert_eq!(run.code(), 0, "{config}\n{run:?}");
        let findings = run.json();
        let findings = findings["findings"].as_array().unwrap();
        let written = findings.iter().find(|f| f["check"] == "provider").unwrap();
        let owner = match config.contains("RAW") || config.contains("-hook") {
            true => OWNER.to_owned(),
            false => format!("_dnseal-probe.{OWNER}"),
        };
        assert_eq!(written["about"], owner, "{config}");
        assert_eq!(written["message"], "a probe value was written", "{config}");
        assert_eq!(bind.updates(ZONE), before + 2, "{config}");
        assert_eq!(txt_values(bind.addr(), &owner), [""; 0], "{config}");
    }
}

/// A configuration with each contract.
fn each_contract(scripts: &Scripts, server: &Server, raw_server: &Server) -> Vec<String> {
    let http = |server: &Server| {
        format!(
            "kind: httpreq, endpoint: '{}', username: user, password: {}",
            server.url(),
            server::PASSWORD
        )
    };
    let providers = [
        format!("kind: exec, command: '{}'", scripts.path("exec")),
        format!(
            "kind: exec, mode: RAW, command: ['{}']",
            scripts.path("raw")
        ),
        format!(
            "kind: certbot-hook, auth-hook: '{}', cleanup-hook: '{}'",
            scripts.path("auth"),
            scripts.path("cleanup")
        ),
        format!(
            "kind: dehydrated-hook, command: '{}'",
            scripts.path("dehydrated")
        ),
        format!(
            "kind: dehydrated-hook, chain: true, command: '{}'",
            scripts.path("chain")
        ),
        http(server),
        format!("{}, mode: RAW", http(raw_server)),
    ];
    let config = |provider: String| {
        let env = match provider.contains("httpreq") {
            true => String::new(),
            false => scripts.env_yaml(),
        };
        format!("providers:\n  it: {{ {provider}{env} }}\n")
    };
    providers.into_iter().map(config).collect()
}

/// lego's users have nothing but their variables.
#[test]
fn legos_variables_are_enough() {
    let Some((bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let dns = |what: &str| {
        let run = Dnseal::new(home.path())
            .args(["dns", what, OWNER, "-value", "--provider", "exec"])
            .args(["--nameserver", &bind.addr().to_string()])
            .env("EXEC_PATH", scripts.path("exec"))
            .env("DNSEAL_SET", scripts.env_lines())
            .run();
        run.success()
    };
    dns("set");
    assert_eq!(txt_values(bind.addr(), OWNER), ["-value"]);
    dns("unset");
    assert_eq!(txt_values(bind.addr(), OWNER), Vec::<String>::new());
}

/// A script whose status says that it has done what it has not.
#[test]
fn success_that_name_servers_do_not_show_is_none() {
    let Some((bind, scripts)) = bind_with_scripts() else {
        return;
    };
    let home = TempDir::with_prefix("dnseal-home-").unwrap();
    let server = bind.addr().to_string();
    let run = |arguments: &[&str], script: &str| {
        Dnseal::new(home.path())
            .args(arguments)
            .args(["--provider", "exec", "--nameserver", &server])
            .env("EXEC_PATH", scripts.path(script))
            .env("DNSEAL_SET", scripts.env_lines())
            .run()
    };
    let said = run(&["dns", "set", OWNER, "v1"], "lies");
    assert_eq!(said.code(), 5, "{said:?}");
    assert!(said.stderr.contains("no name server shows v1"), "{said:?}");
    assert!(said.stdout.starts_with("the provider says: "), "{said:?}");
    let said = run(&["dns", "set", OWNER, "v1"], "exec");
    assert!(said.success().stdout.starts_with("v1 is at "));
    let said = run(&["dns", "unset", OWNER, "v1"], "lies");
    assert_eq!(said.code(), 4, "{said:?}");
    assert!(said.stderr.contains("still shows v1"), "{said:?}");
    assert_eq!(txt_values(bind.addr(), OWNER), ["v1"]);
    let said = run(&["dns", "unset", OWNER, "v1"], "exec");
    assert!(said.success().stdout.starts_with("removed v1 from "));

    // An order with a cleanup that does nothing: done, warned of, and kept in mind until it is really gone.
    let Some(pebble) = Pebble::start(PebbleOptions::new(bind.addr())) else {
        return;
    };
    let (command, env) = (scripts.path("keeps"), scripts.env_yaml());
    let config = format!("providers: {{ it: {{ kind: exec, command: '{command}'{env} }} }}\n");
    fs::write(home.path().join("dnseal.yaml"), config).unwrap();
    let issued = issue(home.path(), &bind, &pebble).run();
    assert_eq!(issued.code(), 0, "{issued:?}");
    assert!(issued.stderr.contains("still shows it"), "{issued:?}");
    assert_eq!(txt_values(bind.addr(), OWNER).len(), 2);
    fs::write(scripts.path("mended"), "").unwrap();
    let swept = Dnseal::new(home.path())
        .args(["dns", "gc", "--nameserver", &server, "--config"])
        .arg(home.path().join("dnseal.yaml"))
        .arg("--dir")
        .arg(home.path().join("state"))
        .run();
    assert_eq!(swept.code(), 0, "{swept:?}");
    assert!(swept.stdout.contains("2 values withdrawn"), "{swept:?}");
    assert_eq!(txt_values(bind.addr(), OWNER), Vec::<String>::new());
}

/// A removal that has lost its handle knows domain and value, and no more.
#[tokio::test(flavor = "multi_thread")]
async fn a_removal_without_a_handle_works_where_the_contract_lets_it() {
    let Some((bind, scripts)) = bind_with_scripts() else {
        return;
    };
    bind.add_txt(scripts.key(), ZONE, OWNER, "left");
    let hooks = [
        ("auth-hook", scripts.path("auth")),
        ("cleanup-hook", scripts.path("cleanup")),
    ];
    let provider = scripts.provider("certbot-hook", &hooks);
    provider
        .apply(&zone(), &[removed(OWNER, "left")])
        .await
        .unwrap();
    assert_eq!(txt_values(bind.addr(), OWNER), Vec::<String>::new());

    let raw = [("command", scripts.path("raw")), ("mode", "RAW".to_owned())];
    let provider = scripts.provider("exec", &raw);
    let error = provider
        .apply(&zone(), &[removed(OWNER, "left")])
        .await
        .unwrap_err();
    assert!(
        matches!(error, ProviderError::Unsupported { .. }),
        "{error:?}"
    );
}

/// The same contract with a script that never ends.
fn slow(silent: &dyn DnsProvider) -> Peculiar<'_> {
    Peculiar {
        silent: Some(silent),
        ..Peculiar::default()
    }
}

async fn conforms(
    bind: &Bind,
    provider: &dyn DnsProvider,
    impostor: Option<&dyn DnsProvider>,
    not_supported: &[&str],
    failing: Peculiar<'_>,
) {
    let options = conformance::Options {
        base: name("conformance.example.test"),
        deeper_zone: Some(name("deeper.example.test")),
        foreign: name("_acme-challenge.elsewhere.test"),
        impostor,
        patience: Duration::from_secs(10),
        read: &reader(bind.addr()),
        zone: Some(name(ZONE)),
    };
    let go_on = |_: &_| std::ops::ControlFlow::Continue(());
    let results = conformance::run_with(provider, &options, &failing, go_on).await;
    for result in &results {
        let cannot = NEVER.contains(&result.name)
            || not_supported.contains(&result.name)
            || result.name == "rate-limit" && failing.throttled.is_none();
        let expected = match cannot {
            true => matches!(result.outcome, Outcome::NotSupported(_)),
            false => result.outcome == Outcome::Pass,
        };
        assert!(expected, "{}: {:?}", result.name, result.outcome);
    }
    assert_eq!(txt_values(bind.addr(), ZONE), ["apex"]);
}

fn bind() -> Option<(Bind, TsigKey)> {
    let key = TsigKey::random("acme-key");
    let zone = ZoneSpec::new(ZONE).updated_by(&key).record("@ TXT apex");
    let bind = Bind::start(BindOptions::new([zone], [key.clone()]))?;
    Some((bind, key))
}

fn bind_with_scripts() -> Option<(Bind, Scripts)> {
    let (bind, key) = bind()?;
    let scripts = Scripts::new(bind.addr(), key);
    Some((bind, scripts))
}

fn issue(home: &Path, bind: &Bind, pebble: &Pebble) -> Dnseal {
    with_config("issue", home, bind, pebble)
}

fn with_config(command: &str, home: &Path, bind: &Bind, pebble: &Pebble) -> Dnseal {
    Dnseal::new(home)
        .arg(command)
        .args(BOTH)
        .arg("--config")
        .arg(home.join("dnseal.yaml"))
        .arg("--dir")
        .arg(home.join("state"))
        .args(["--nameserver", &bind.addr().to_string()])
        .arg("--ca")
        .arg(pebble.directory_url())
        .arg("--ca-root")
        .arg(pebble.ca_pem_path())
        .arg("--agree-tos")
}

fn zone() -> Zone {
    Zone {
        id: String::new(),
        name: name(ZONE),
    }
}
