//! A secret that is planted like a canary is in no log, no error and no `Debug`.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use dnseal_core::dns::{Action, Receipt};
use dnseal_tests::fakes::route53::{Fault, Policy, Route53Options};
use tracing_subscriber::fmt::MakeWriter;

use crate::bench::{Bench, change, name, provider};

const KEY: &str = "ASIATEMPORARY";
const SECRET: &str = "canary-of-the-secret-access-key";
const TOKEN: &str = "canary-of-the-session-token";
const OWNER: &str = "_acme-challenge.example.test";

#[tokio::test]
async fn secrets_stay_inside() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .finish();
    let guard = tracing::subscriber::set_default(subscriber);

    let keys = vec![(KEY.to_owned(), SECRET.to_owned())];
    let bench = Bench::with(Route53Options {
        keys,
        ..Route53Options::default()
    })
    .await;
    let settings = [
        ("access-key-id", KEY),
        ("secret-access-key", SECRET),
        ("session-token", TOKEN),
    ];
    let provider = provider(&bench.fake, &settings);
    let mut told = vec![format!("{provider:?}")];
    let add = [change(Action::Add, OWNER, "value")];
    provider.zone_of(&name(OWNER)).await.unwrap();
    let applied = provider.apply(&bench.zone, &add).await.unwrap();
    provider.settled(&applied.receipt).await.unwrap();
    told.push(format!("{applied:?}"));
    for fault in [
        Fault::Close,
        Fault::Refuse(400, "Throttling", "Rate exceeded"),
        Fault::Refuse(403, "ExpiredToken", "The security token is expired"),
        Fault::Refuse(
            403,
            "SignatureDoesNotMatch",
            "The request signature does not match",
        ),
        Fault::Refuse(500, "InternalFailure", ""),
    ] {
        bench.fake.inject("ListResourceRecordSets", fault, 20);
        let error = provider.apply(&bench.zone, &add).await.unwrap_err();
        told.push(format!("{error:?} {error} {:?}", error.hint()));
        bench.fake.heal();
    }
    bench.fake.allow(Policy::Everything);
    bench.fake.deny("route53:GetChange");
    let error = provider
        .settled(&Receipt(vec!["C1".to_owned()]))
        .await
        .unwrap_err();
    told.push(format!("{error:?} {error} {:?}", error.hint()));
    drop(guard);

    told.push(log.text());
    let told = told.join("\n");
    assert!(told.contains("aws"), "the SDK has logged");
    for secret in [SECRET, TOKEN] {
        let found = told.lines().find(|line| line.contains(secret));
        assert_eq!(found, None);
    }
}

#[derive(Clone, Debug, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}
