//! Any name server that takes dynamic updates (RFC 2136): BIND, Knot, PowerDNS, Windows DNS with TSIG before it, and others.
//!
//! All changes of a zone go out in one UPDATE over TCP, signed with TSIG (RFC 8945). Each value is a record of its own, so
//! that other values at the same name, whoever wrote them, are never touched. After the server has said yes the added values
//! are read back from it, because some additions are silently ignored (RFC 2136 section 3.4.2.2).

mod answer;
mod config;
mod exchange;
mod keyfile;
mod readback;
mod tsig;
mod update;
mod wire;
mod zones;

use async_trait::async_trait;
use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::TxtValue;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;
use hickory_proto::ProtoError;
use hickory_proto::op::Message;
use hickory_proto::op::ResponseCode;

pub(crate) use crate::rfc2136::config::KIND;

use crate::rfc2136::answer::Asked;
use crate::rfc2136::answer::UpdateError;
use crate::rfc2136::exchange::Client;
use crate::rfc2136::exchange::Connection;
use crate::rfc2136::tsig::TsigError;
use crate::rfc2136::tsig::VerifyError;
use crate::rfc2136::zones::Held;
use crate::rfc2136::zones::Standing;

/// A server, and what to know about its zones.
#[derive(Debug)]
struct Rfc2136 {
    client: Client,
    ttl: u32,
    zone: Option<DomainName>,
}

#[async_trait]
impl DnsProvider for Rfc2136 {
    fn capabilities(&self) -> Capabilities {
        Capabilities::new(self.ttl, WriteSafety::PerValue)
    }

    fn endpoint(&self) -> String {
        self.client.server.to_string()
    }

    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError> {
        if let Some(zone) = &self.zone {
            return match owner.is_within(zone) {
                true => Ok(named(zone.clone())),
                false => Err(ProviderError::Misconfigured {
                    detail: format!(
                        "{owner} is not in {zone}, which is the `zone` set for {}",
                        self.endpoint()
                    ),
                    hint: Some(
                        "leave `zone` out, or route the name to another provider".to_owned(),
                    ),
                }),
            };
        }

        let mut connection = Connection::default();
        let mut next = Some(owner.clone());
        while let Some(name) = next {
            let question = update::soa_query(&name).map_err(|e| self.unwritable(&e))?;
            let answer = self.query(&mut connection, &question).await?;
            match answer.metadata.response_code {
                ResponseCode::NoError | ResponseCode::NXDomain => {}
                ResponseCode::Refused | ResponseCode::NotAuth => break,
                code => {
                    return Err(ProviderError::Unreachable {
                        detail: format!(
                            "it answered {} when asked for the zone of {name}",
                            answer::mnemonic(code)
                        ),
                        endpoint: self.endpoint(),
                    });
                }
            }
            match Held::read(&name, &answer) {
                Held::Zone(zone) => return Ok(named(zone)),
                Held::LookAbove(child) => next = child.parent(),
                Held::Nothing => break,
            }
        }
        Err(ProviderError::ZoneNotFound {
            endpoint: self.endpoint(),
            held: Vec::new(),
            owner: owner.clone(),
        })
    }

    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        let mut outcomes: Vec<Option<Outcome>> = changes
            .iter()
            .map(|change| unfit(zone, change).map(|reason| Outcome::Refused { reason }))
            .collect();
        let mut connection = Connection::default();
        loop {
            let error = match self.update(&mut connection, zone, changes, &outcomes).await {
                Ok(()) => break,
                Err(error @ ProviderError::Refused { .. }) => error,
                Err(error) => return Err(error),
            };
            // PowerDNS refuses the whole UPDATE where others ignore one addition; then the rest can do without it.
            let before = outcomes.clone();
            readback::note_misplaced(self, &mut connection, zone, changes, &mut outcomes).await;
            if outcomes == before {
                return Err(error);
            }
        }
        let accepted = outcomes.clone();
        readback::note_missing(self, &mut connection, zone, changes, &mut outcomes).await;
        self.withdraw(&mut connection, zone, changes, &accepted, &outcomes)
            .await;
        Ok(Applied {
            outcomes: outcomes
                .into_iter()
                .map(|outcome| outcome.unwrap_or(Outcome::Applied { handle: None }))
                .collect(),
            receipt: Receipt::default(),
        })
    }

    async fn values(
        &self,
        _zone: &Zone,
        owner: &DomainName,
    ) -> Result<Option<Vec<TxtValue>>, ProviderError> {
        let question = update::txt_query(owner).map_err(|e| self.unwritable(&e))?;
        let answer = self.query(&mut Connection::default(), &question).await?;
        Ok(readback::authoritative(&answer).then(|| readback::values(owner, &answer)))
    }
}

impl Rfc2136 {
    /// Sends every change that has no outcome yet.
    ///
    /// A later message that fails fails the call too: repeating what was applied changes nothing.
    async fn update(
        &self,
        connection: &mut Connection,
        zone: &Zone,
        changes: &[TxtChange],
        outcomes: &[Option<Outcome>],
    ) -> Result<(), ProviderError> {
        let open: Vec<&TxtChange> = changes
            .iter()
            .zip(outcomes)
            .filter(|(_, outcome)| outcome.is_none())
            .map(|(change, _)| change)
            .collect();
        for part in update::parts(&zone.name, &open).map_err(|e| self.unwritable(&e))? {
            let asked = Asked {
                client: &self.client,
                owners: &part.owners(),
                zone: &zone.name,
            };
            let answer = self.ask_one(connection, &part.message, true).await?;
            match asked.update(&part.message, answer) {
                Ok(()) => {}
                Err(UpdateError::Known(error)) => return Err(error),
                Err(UpdateError::Unsigned(code)) => {
                    let standing = Standing::find(self, connection, &zone.name).await;
                    return Err(asked.declined(code, &standing));
                }
            }
            tracing::debug!(
                server = %self.client.server, zone = %zone.name, changes = part.changes.len(), "updated"
            );
        }
        Ok(())
    }

    /// Removes the values that were accepted and then refused, because a server keeps what nobody will ever see.
    async fn withdraw(
        &self,
        connection: &mut Connection,
        zone: &Zone,
        changes: &[TxtChange],
        accepted: &[Option<Outcome>],
        outcomes: &[Option<Outcome>],
    ) {
        let removals: Vec<TxtChange> = changes
            .iter()
            .zip(accepted.iter().zip(outcomes))
            .filter(|(_, outcomes)| matches!(outcomes, (None, Some(Outcome::Refused { .. }))))
            .map(|(change, _)| TxtChange {
                action: Action::Remove,
                ..change.clone()
            })
            .collect();
        if removals.is_empty() {
            return;
        }
        let none = vec![None; removals.len()];
        // The refusal is what the caller has to hear of.
        if let Err(error) = self.update(connection, zone, &removals, &none).await {
            tracing::debug!(server = %self.client.server, %error, "refused values not withdrawn");
        }
    }

    /// Asks a question; signed, because a server with views may choose the view by the key, and unsigned where it does
    /// not want signed questions.
    async fn query(
        &self,
        connection: &mut Connection,
        question: &Message,
    ) -> Result<Message, ProviderError> {
        let mut refusal = None;
        if self.client.key.is_some() {
            match self.ask_one(connection, question, true).await? {
                Ok(answer) if !declined(&answer) => return Ok(answer),
                Ok(_) => {}
                // A key may be good for updates only, and then is none for questions.
                Err(error @ (VerifyError::OtherKey | VerifyError::Tsig(TsigError::BadKey))) => {
                    refusal = Some(error);
                }
                Err(VerifyError::Unsigned(_)) => {}
                Err(error) => return Err(answer::verify_error(&self.client, &error)),
            }
        }
        let answer = self
            .ask_one(connection, question, false)
            .await?
            .map_err(|e| answer::verify_error(&self.client, &e))?;
        match refusal {
            Some(refusal) if declined(&answer) => Err(answer::verify_error(&self.client, &refusal)),
            _ => Ok(answer),
        }
    }

    async fn ask_one(
        &self,
        connection: &mut Connection,
        message: &Message,
        signed: bool,
    ) -> Result<Result<Message, VerifyError>, ProviderError> {
        let answers = self
            .client
            .ask(connection, std::slice::from_ref(message), signed)
            .await
            .map_err(|e| answer::exchange_error(&self.client, &e))?;
        Ok(answers
            .into_iter()
            .next()
            .unwrap_or(Err(VerifyError::Malformed)))
    }

    fn unwritable(&self, error: &ProtoError) -> ProviderError {
        ProviderError::Refused {
            detail: format!("the message could not be written: {error}"),
            endpoint: self.endpoint(),
            hint: None,
        }
    }
}

/// Why a change cannot even be asked for.
fn unfit(zone: &Zone, change: &TxtChange) -> Option<String> {
    if !change.owner.is_within(&zone.name) {
        return Some(format!("{} is not in the zone {}", change.owner, zone.name));
    }
    if !update::fits(change) {
        return Some(format!(
            "a value of {} octets does not fit a DNS message",
            change.value.as_bytes().len()
        ));
    }
    None
}

/// Whether the server wants another kind of question, as far as its answer tells.
fn declined(answer: &Message) -> bool {
    matches!(
        answer.metadata.response_code,
        ResponseCode::Refused | ResponseCode::NotAuth | ResponseCode::FormErr
    )
}

fn named(name: DomainName) -> Zone {
    Zone {
        id: String::new(),
        name,
    }
}

#[cfg(test)]
mod tests;
