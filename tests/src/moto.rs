//! Moto, somebody else's stand-in for Amazon's services.
//!
//! What it has of Route 53 is enough for a client that is alone: zones, lists, change batches. It is not faithful where two
//! writers meet: a DELETE passes if the same record set was ever created, whatever is there now; a CREATE replaces what is there
//! unless the same CREATE was sent before, and then is refused even beside the DELETE that makes room for it. Changes are in sync at
//! once, signatures and policies are not looked at, `ListHostedZonesByName` filters by the name, and nothing is limited.

use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use crate::process::start;
use crate::{Process, free_addr, python_with};

/// A running `moto_server`.
#[derive(Debug)]
pub struct Moto {
    address: SocketAddr,
    process: Process,
}

impl Moto {
    /// Starts it; `None`, with one visible line, where it is not installed.
    pub fn start() -> Option<Self> {
        let python = python_with(&["moto.server", "flask_cors"])?;
        Some(start("moto", || {
            let address = free_addr();
            let dir = TempDir::with_prefix("dnseal-moto-").unwrap();
            let process = Process::spawn(
                "moto",
                dir,
                Command::new(&python)
                    .args(["-m", "moto.server", "-H", &address.ip().to_string()])
                    .args(["-p", &address.port().to_string()]),
            );
            process.await_start(|| {
                std::net::TcpStream::connect(address)
                    .map(drop)
                    .map_err(|error| error.to_string())
            })?;
            Ok(Self { address, process })
        }))
    }

    /// The URL of every service it has.
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The process behind it.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Makes a public hosted zone and gives its ID.
    ///
    /// # Panics
    ///
    /// When it is refused.
    pub async fn create_zone(&self, name: &str) -> String {
        let request = format!(
            "<CreateHostedZoneRequest xmlns=\"https://route53.amazonaws.com/doc/2013-04-01/\">\
             <Name>{name}</Name><CallerReference>{name}</CallerReference></CreateHostedZoneRequest>"
        );
        let answer = reqwest::Client::builder()
            .no_proxy()
            .build()
            .unwrap()
            .post(format!("{}/2013-04-01/hostedzone", self.endpoint()))
            // It tells services apart by what the signature is for, and looks no further.
            .header(
                "authorization",
                "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/route53/aws4_request, SignedHeaders=host, Signature=0",
            )
            .body(request)
            .send()
            .await
            .unwrap()
            .error_for_status()
            .unwrap()
            .text()
            .await
            .unwrap();
        let (_, rest) = answer.split_once("<Id>/hostedzone/").unwrap();
        rest.split('<').next().unwrap().to_owned()
    }
}
