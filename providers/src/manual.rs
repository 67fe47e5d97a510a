//! A person, who is told what to set and what may be removed again.
//!
//! Nothing is written from here. The engine tells all values of an order at once, looks for them by itself, and comes back later where nobody watches.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;

use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::settings::Checked;
use crate::settings::SettingsError;

/// What there is to know about the provider.
pub(crate) const KIND: Kind = Kind {
    docs: "https://www.rfc-editor.org/rfc/rfc8555#section-8.4",
    integration: Integration::Native,
    kind: "manual",
    permissions: "\
Somebody who may set TXT records in the zone. At a terminal, `issue` prints all records at once and goes on when the name servers show them.
Without one, and in `renew`, it prints them and ends with the exit code 10; the same command goes on with the same order once they are set.
A certificate that has to be renewed by hand every few weeks is better delegated: see `dnseal dns delegate`, and acme-dns.
",
    settings: &[
        Setting {
            aliases: &[],
            default: Some("0"),
            env: &["DNSEAL_MANUAL_WAIT"],
            form: Form::Duration,
            help: "How long to wait for the records where there is no terminal, instead of coming back later",
            key: WAIT,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("60"),
            env: &["DNSEAL_MANUAL_TTL"],
            form: Form::Number,
            help: "The TTL in seconds that the records are printed with",
            key: TTL,
            required: false,
        },
    ],
    title: "a person, who sets the records by hand",
    write_safety: WriteSafety::PerValue,

    build,
};

fn build(settings: &Checked, _: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    Ok(Arc::new(Manual {
        wait: match settings.text(WAIT) {
            Some("0") => Duration::ZERO,
            _ => settings.duration(WAIT)?.unwrap_or_default(),
        },
        ttl: settings.number(TTL)?.unwrap_or(60),
    }))
}

#[derive(Debug)]
struct Manual {
    wait: Duration,
    ttl: u32,
}

#[async_trait]
impl DnsProvider for Manual {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            by_person: Some(self.wait),
            ..Capabilities::new(self.ttl, WriteSafety::PerValue)
        }
    }

    fn endpoint(&self) -> String {
        "a person".to_owned()
    }

    async fn zone_of(&self, _: &DomainName) -> Result<Zone, ProviderError> {
        Err(ProviderError::Unsupported {
            detail: "nobody is asked for the zone".to_owned(),
            endpoint: self.endpoint(),
        })
    }

    async fn apply(&self, _: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        Ok(Applied::all(changes))
    }
}

const WAIT: &str = "wait";
const TTL: &str = "ttl";
