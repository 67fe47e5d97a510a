//! The one thing that is wanted of a service: the TXT values at a name, read, added to and taken from.

use async_trait::async_trait;
use dns_update::DnsRecord;
use dns_update::DnsRecordType;
use dns_update::DnsUpdater;
use dns_update::Error;
use dnseal_core::dns::DomainName;

/// The TXT values at a name, as a service has them.
#[async_trait]
pub(super) trait Remote: Send + Sync {
    /// As the service writes them, some with quotes.
    async fn list(&self, owner: &DomainName, zone: &DomainName) -> Result<Vec<String>, Error>;

    /// Puts values beside what is there.
    async fn add(
        &self,
        owner: &DomainName,
        zone: &DomainName,
        ttl: u32,
        values: &[String],
    ) -> Result<(), Error>;

    /// Takes exactly these values away.
    async fn remove(
        &self,
        owner: &DomainName,
        zone: &DomainName,
        values: &[String],
    ) -> Result<(), Error>;
}

#[async_trait]
impl Remote for DnsUpdater {
    async fn list(&self, owner: &DomainName, zone: &DomainName) -> Result<Vec<String>, Error> {
        let records = self
            .list_rrset(owner.as_str(), DnsRecordType::TXT, zone.as_str())
            .await?;
        let texts = records.into_iter().filter_map(|record| match record {
            DnsRecord::TXT(text) => Some(text),
            _ => None,
        });
        Ok(texts.collect())
    }

    async fn add(
        &self,
        owner: &DomainName,
        zone: &DomainName,
        ttl: u32,
        values: &[String],
    ) -> Result<(), Error> {
        let (owner, zone) = (owner.as_str(), zone.as_str());
        self.add_to_rrset(owner, DnsRecordType::TXT, ttl, records(values), zone)
            .await
    }

    async fn remove(
        &self,
        owner: &DomainName,
        zone: &DomainName,
        values: &[String],
    ) -> Result<(), Error> {
        let (owner, zone) = (owner.as_str(), zone.as_str());
        self.remove_from_rrset(owner, DnsRecordType::TXT, records(values), zone)
            .await
    }
}

fn records(values: &[String]) -> Vec<DnsRecord> {
    values.iter().cloned().map(DnsRecord::TXT).collect()
}

/// The value that a service means: some give the text as a zone file has it, `"first 255" "and the rest"`.
pub(super) fn plain(listed: &str) -> String {
    let text = listed.trim();
    let Some(mut rest) = text.strip_prefix('"') else {
        return listed.to_owned();
    };
    let mut value = String::new();
    loop {
        let mut letters = rest.char_indices();
        let end = loop {
            match letters.next() {
                Some((_, '\\')) => value.extend(letters.next().map(|(_, letter)| letter)),
                Some((at, '"')) => break at,
                Some((_, letter)) => value.push(letter),
                // It only happens to begin like that.
                None => return listed.to_owned(),
            }
        };
        rest = rest.get(end + 1..).unwrap_or_default().trim_start();
        match rest.strip_prefix('"') {
            Some(next) => rest = next,
            None if rest.is_empty() => return value,
            None => return listed.to_owned(),
        }
    }
}
