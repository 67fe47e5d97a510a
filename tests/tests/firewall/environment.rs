//! That the environment is what it says: with an open firewall everything is reached, with a closed one nothing but the proxy.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use dnseal_sandbox::dns::{DnsServer, Zone};
use dnseal_tests::{Cure, Firewall, Internet, txt_values};

#[test]
fn a_firewall_closes_and_opens() {
    let Some(internet) = Internet::start().and_then(Internet::with_proxy) else {
        return;
    };
    let zone = Zone::new(Internet::ZONE).txt("www.example.test", "here");
    let servers =
        internet.name_servers(zone, |zone| DnsServer::builder().zone(zone), Duration::ZERO);
    let Some(_resolver) = internet.resolver(servers.stubs()) else {
        return;
    };
    let ask = |server: &str| {
        let server: SocketAddr = server.parse().unwrap();
        internet
            .client()
            .within(|| txt_values(server, "www.example.test"))
    };
    for server in ["192.0.2.12:53", "[2001:db8::13]:53", "192.0.2.99:53"] {
        assert_eq!(ask(server), ["here"], "{server}");
    }

    let reach = |server: &str| {
        let server: SocketAddr = server.parse().unwrap();
        internet.client().within(|| {
            let began = Instant::now();
            let result = TcpStream::connect_timeout(&server, Duration::from_millis(500));
            (result.is_ok(), began.elapsed())
        })
    };
    internet.firewall(Firewall::ProxyOnly(Cure::Drop));
    let (reached, took) = reach("192.0.2.12:53");
    assert!(!reached && took >= Duration::from_millis(400), "{took:?}");
    assert!(reach("10.77.0.1:8888").0);
    internet.firewall(Firewall::NoDns(Cure::Reject));
    let (reached, took) = reach("[2001:db8::12]:53");
    assert!(!reached && took < Duration::from_millis(400), "{took:?}");
    internet.firewall(Firewall::NoIpv6);
    assert!(reach("192.0.2.12:53").0);
    assert!(!reach("[2001:db8::12]:53").0);
}
