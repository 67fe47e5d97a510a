//! Proxies that let nobody through: whoever meets one names it and says how to go around it.

use dnseal_tests::{Socks, Tinyproxy, TinyproxyOptions, free_addr};

use crate::world::{Examined, world};

/// One that connects to these ports and no others.
fn proxy(ports: &[u16]) -> Option<Tinyproxy> {
    Tinyproxy::start(TinyproxyOptions {
        listen: free_addr(),
        connect_ports: ports.to_vec(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_refuses_is_found() {
    let Some((_bind, world)) = world(&[]).await else {
        return;
    };
    let ca = world.ca.address().port();
    for (ports, code) in [(vec![1], 6), (vec![ca], 0)] {
        let Some(proxy) = proxy(&ports) else { return };
        let run = world
            .command("doctor example.test --output json")
            .env("HTTPS_PROXY", proxy.url())
            .run();
        let found = Examined::of(run).ends(code);
        let said = found.the("ca", if code == 0 { "ok" } else { "failure" });
        assert!(
            said.contains(&format!("the proxy {}", proxy.url())),
            "{said}"
        );
        if code != 0 {
            assert!(said.contains("let the proxy allow CONNECT to"), "{said}");
            assert_eq!(found.failures(), ["ca"]);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_between_us_and_a_provider_is_named() {
    let Some((_bind, world)) = world(&[]).await else {
        return;
    };
    let Some(proxy) = proxy(&[1]) else { return };
    for kind in ["cloudflare", "httpreq", "route53"] {
        let run = world
            .command("doctor example.test --output json")
            .env("DNSEAL_PROVIDER", kind)
            .env("HTTPS_PROXY", proxy.url())
            .env("NO_PROXY", "127.0.0.1")
            .env("CLOUDFLARE_DNS_API_TOKEN", "a-token-of-nobody-at-all")
            .env("HTTPREQ_ENDPOINT", "https://api.example.test/")
            .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
            .env("AWS_SECRET_ACCESS_KEY", "a-secret-of-nobody-at-all")
            .env("AWS_REGION", "us-east-1")
            .run();
        let said = Examined::of(run).ends(4).the("provider", "failure");
        let refused = format!("the proxy {} refused to connect", proxy.url());
        assert!(
            said.contains(&refused) && said.contains("NO_PROXY=HOST"),
            "{kind}: {said}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_between_us_and_a_resolver_is_named() {
    let Some((_bind, world)) = world(&[]).await else {
        return;
    };
    let Some(refusing) = proxy(&[1]) else { return };
    let down = free_addr();
    let check = "dns check example.test --propagation doh --doh https://doh.example.test/dns-query";
    for (url, said) in [
        (refusing.url(), "refused to connect"),
        (format!("http://{down}"), "cannot be reached"),
    ] {
        let run = world.command(check).env("HTTPS_PROXY", &url).run();
        let said = format!("the proxy {url} {said}");
        assert!(run.stdout.contains(&said), "{run:?}");
    }
}

/// The way out that `ssh -D` is.
#[tokio::test(flavor = "multi_thread")]
async fn a_socks_proxy_is_gone_through_and_named() {
    let Some((_bind, world)) = world(&[]).await else {
        return;
    };
    let open = Socks::start(None).await;
    let issue = world.command("issue example.test");
    issue.env("HTTPS_PROXY", open.url()).run().success();
    assert!(open.requests().contains(&world.ca.address().to_string()));

    let doctor = || world.command("doctor example.test --read-only --output json");
    let run = doctor().env("HTTPS_PROXY", open.url()).run();
    let said = Examined::of(run).ends(0).the("ca", "ok");
    assert!(
        said.contains(&format!("the proxy {}", open.url())),
        "{said}"
    );
    for (code, words, advice) in [
        (2, "refused to connect", "let the proxy allow"),
        (
            4,
            "made no connection: host unreachable",
            "be reached from where",
        ),
    ] {
        let proxy = Socks::start(Some(code)).await;
        let run = doctor().env("HTTPS_PROXY", proxy.url()).run();
        let said = Examined::of(run).ends(6).the("ca", "failure");
        let words = format!("the proxy {} {words}", proxy.url());
        assert!(said.contains(&words) && said.contains(advice), "{said}");
    }
    let down = format!("socks5://{}", free_addr());
    let run = doctor().env("ALL_PROXY", &down).run();
    let said = Examined::of(run).ends(6).the("ca", "failure");
    assert!(
        said.contains(&format!("the proxy {down} cannot be reached")),
        "{said}"
    );
}
