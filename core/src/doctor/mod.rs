//! What would fail, told before anything is ordered.
//!
//! [`Doctor::examine`] runs small checks that know nothing of each other, as far as possible at once: this machine, the
//! CA, where each challenge lives, who may issue, what the name servers say, and a probe value that is written,
//! seen and removed. Each gives typed [`Finding`]s; rendering them is left to others. No order is made, nothing is registered, and the
//! probe value is the only thing that is written.

mod ca;
mod caa;
mod finding;
mod place;

use tokio_util::sync::CancellationToken;

pub use finding::Check;
pub use finding::Diagnosis;
pub use finding::Finding;
pub use finding::Severity;

use crate::issue::Engine;
use crate::issue::Request;

/// Examines what an order would need.
#[derive(Debug)]
pub struct Doctor<'a> {
    engine: &'a Engine,
    read_only: bool,
}

impl<'a> Doctor<'a> {
    /// A doctor who looks at the world through this engine.
    pub fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            read_only: false,
        }
    }

    /// The same, who writes no probe value.
    pub fn read_only(self, read_only: bool) -> Self {
        Self { read_only, ..self }
    }

    /// Everything that can be told about this request, which may be for no names at all.
    pub async fn examine(&self, request: &Request, cancel: &CancellationToken) -> Diagnosis {
        let _ = (cancel, self.read_only);
        let authority = async {
            let (mut findings, seen) = ca::check(self.engine, request).await;
            if let Some(seen) = &seen {
                findings.extend(caa::check(self.engine, request, seen).await);
            }
            findings
        };
        let zones = async {
            let (findings, _places) = place::check(self.engine.zones(), request).await;
            findings
        };
        let (mut findings, zones) = tokio::join!(authority, zones);
        findings.extend(zones);
        Diagnosis::new(findings)
    }
}
