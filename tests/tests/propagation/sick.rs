//! Servers that are sick in every way that a day brings, each alone beside good ones and all together.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use dnseal_core::dns::{PropagationPolicy, Report, Transport, Verdict};
use dnseal_sandbox::dns::{DnsServer, Fault, Log, RecordType};

use crate::{
    OWNER,
    bench::{drain, policy, primary, row, show, wait, wanted, warnings, zone_servers},
};

/// One kind of sickness: the server's name, its address, and what is to be seen of it in the end.
struct Sick {
    name: &'static str,
    server: DnsServer,
    fault: Fault,
    /// Whether it is another address of a server that is well.
    beside: bool,
    says: &'static str,
    transport: Transport,
    /// Whether it gets well while it is waited.
    passes: bool,
}

impl Sick {
    async fn all(primary: &DnsServer) -> Vec<Self> {
        let black_hole: SocketAddr = ([0, 0, 0, 0, 0, 0, 0, 1], 0).into();
        let kinds = [
            (
                "dead",
                None,
                Fault::drop(),
                true,
                "no answer",
                Transport::Tcp,
                false,
            ),
            (
                "hole",
                Some(black_hole),
                Fault::drop(),
                true,
                "no answer",
                Transport::Tcp,
                false,
            ),
            (
                "lame",
                None,
                Fault::refused(),
                false,
                "REFUSED",
                Transport::Udp,
                false,
            ),
            (
                "cut",
                None,
                Fault::truncate(),
                false,
                "has it",
                Transport::Tcp,
                false,
            ),
            (
                "tcp",
                None,
                Fault::drop().udp(),
                false,
                "has it",
                Transport::Tcp,
                false,
            ),
            (
                "ill",
                None,
                Fault::servfail(),
                false,
                "has it",
                Transport::Udp,
                true,
            ),
        ];
        let mut all = Vec::new();
        for (name, listen, fault, beside, says, transport, passes) in kinds {
            let mut server = primary.secondary(Duration::ZERO);
            if let Some(address) = listen {
                server = server.listen(address);
            }
            let server = server.start().await.unwrap();
            server.inject(fault.clone());
            all.push(Self {
                name,
                server,
                fault,
                beside,
                says,
                transport,
                passes,
            });
        }
        all
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_sickness_alone() {
    for at in 0..6 {
        let primary = primary().await;
        let mut all = Sick::all(&primary).await;
        let one = all.remove(at);
        together(primary, vec![one]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_them_together() {
    let primary = primary().await;
    let all = Sick::all(&primary).await;
    together(primary, all).await;
}

/// Waits with these beside a good server and one that is late, and looks at how that ends.
async fn together(primary: DnsServer, sick: Vec<Sick>) {
    let late = primary.stale_secondary().start().await.unwrap();
    show(&primary, OWNER, "value");
    let mut named = vec![("good", primary.addr()), ("late", late.addr())];
    let mut others = Vec::new();
    for it in &sick {
        named.push((it.name, it.server.addr()));
        if it.beside {
            let well = primary.secondary(Duration::ZERO).start().await.unwrap();
            named.push((it.name, well.addr()));
            others.push(well);
        }
    }
    let zone = zone_servers(&named);
    let policy = PropagationPolicy {
        grace: Duration::from_secs(2),
        ..policy()
    };
    let began = Instant::now();
    let (waiting, mut told) = wait(policy, vec![wanted(&zone, OWNER, &["value"])]);
    // Until every sick one has been looked at, and the silent ones have been given up.
    for it in &sick {
        let asked = |times: usize| move |log: &Log| log.count(OWNER, RecordType::TXT) >= times;
        it.server.wait_for(asked(2)).await;
        if it.passes {
            let left = Duration::from_secs(3).saturating_sub(began.elapsed());
            tokio::time::sleep(left).await;
            it.server.heal();
            let before = it.server.queries().len();
            it.server.wait_for(asked(before + 1)).await;
        }
    }
    let given_up = Duration::from_secs(4).saturating_sub(began.elapsed());
    tokio::time::sleep(given_up).await;
    assert!(!waiting.is_finished());

    late.release();
    let released = Instant::now();
    let report: Report = waiting.await.unwrap().unwrap();
    let took = released.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}\n{report}");
    for it in &sick {
        let row = row(&report, it.server.addr());
        let says = row.verdict.as_ref().map(Verdict::to_string).unwrap();
        assert!(
            says.starts_with(it.says),
            "{}: {says} ({:?})",
            it.name,
            it.fault
        );
        assert_eq!(row.transport, Some(it.transport), "{}", it.name);
    }
    let broken: Vec<String> = warnings(&drain(&mut told));
    let lame = sick.iter().filter(|it| it.name == "lame").count();
    assert_eq!(broken.len(), lame, "{broken:?}");
}
