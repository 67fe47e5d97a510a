//! Any name server that takes dynamic updates (RFC 2136): BIND, Knot, PowerDNS, Windows DNS with TSIG before it, and others.
//!
//! All changes of a zone go out in one UPDATE over TCP, signed with TSIG (RFC 8945). Each value is a record of its own, so
//! that other values at the same name, whoever wrote them, are never touched. After the server has said yes the added values
//! are read back from it, because some additions are silently ignored (RFC 2136 section 3.4.2.2).

mod answer;
mod exchange;
mod keyfile;
mod readback;
mod tsig;
mod update;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
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
use hickory_proto::rr::RData;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::rfc2136::answer::Asked;
use crate::rfc2136::exchange::Client;
use crate::rfc2136::exchange::Connection;
use crate::rfc2136::exchange::Server;
use crate::rfc2136::tsig::Algorithm;
use crate::rfc2136::tsig::Key;
use crate::rfc2136::tsig::KeyError;
use crate::rfc2136::tsig::VerifyError;
use crate::settings::Checked;
use crate::settings::SettingsError;

/// What there is to know about the provider.
pub(crate) const KIND: Kind = Kind {
    docs: "https://www.rfc-editor.org/rfc/rfc2136",
    kind: "rfc2136",
    permissions: PERMISSIONS,
    settings: &[
        Setting {
            aliases: &["nameserver"],
            default: None,
            env: &["RFC2136_NAMESERVER", "DNSUPDATE_NAMESERVER"],
            form: Form::Text,
            help: "The primary name server: a name or an address, with `:PORT` if it is not 53",
            key: SERVER,
            required: true,
        },
        Setting {
            aliases: &["tsig.key"],
            default: None,
            env: &["RFC2136_TSIG_KEY", "DNSUPDATE_TSIG_KEY"],
            form: Form::Text,
            help: "The name of the TSIG key, as the server has it",
            key: TSIG_NAME,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["RFC2136_TSIG_SECRET", "DNSUPDATE_TSIG_SECRET"],
            form: Form::Secret,
            help: "The secret of the TSIG key in base64",
            key: TSIG_SECRET,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("hmac-sha256"),
            env: &["RFC2136_TSIG_ALGORITHM", "DNSUPDATE_TSIG_ALGORITHM"],
            form: Form::Text,
            help: "The algorithm of the TSIG key: hmac-sha1, hmac-sha224, hmac-sha256, hmac-sha384 or hmac-sha512",
            key: TSIG_ALGORITHM,
            required: false,
        },
        Setting {
            aliases: &["tsig.file"],
            default: None,
            env: &["RFC2136_TSIG_FILE", "DNSUPDATE_TSIG_FILE"],
            form: Form::File,
            help: "A key file as `tsig-keygen` writes it, instead of `tsig.name` and `tsig.secret`",
            key: KEY_FILE,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("false"),
            env: &["DNSEAL_RFC2136_UNSIGNED"],
            form: Form::Flag,
            help: "Send updates without a signature, for servers that go by the address of the sender",
            key: UNSIGNED,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["DNSEAL_RFC2136_ZONE"],
            form: Form::Text,
            help: "The zone to update, instead of the one that the server says a name is in",
            key: ZONE,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("1"),
            env: &["RFC2136_TTL", "DNSUPDATE_TTL"],
            form: Form::Number,
            help: "The TTL of challenge values in seconds",
            key: TTL,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("10s"),
            env: &["RFC2136_DNS_TIMEOUT", "DNSUPDATE_DNS_TIMEOUT"],
            form: Form::Duration,
            help: "How long to wait for a connection, and for an answer",
            key: TIMEOUT,
            required: false,
        },
    ],
    title: "any name server that takes dynamic updates (RFC 2136), such as BIND, Knot and PowerDNS",
    write_safety: WriteSafety::PerValue,

    build,
};

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
        Capabilities {
            max_values: None,
            ttl: self.ttl,
            settle: Duration::ZERO,
            tells_settled: false,
            write_safety: WriteSafety::PerValue,
        }
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
        let good = changes
            .iter()
            .zip(&outcomes)
            .enumerate()
            .filter(|(_, (_, outcome))| outcome.is_none())
            .map(|(place, (change, _))| (place, change));
        let parts = update::parts(&zone.name, good).map_err(|e| self.unwritable(&e))?;

        let mut connection = Connection::default();
        for part in &parts {
            let mut owners: Vec<&DomainName> = part
                .places
                .iter()
                .filter_map(|&place| changes.get(place))
                .map(|change| &change.owner)
                .collect();
            owners.sort_unstable();
            owners.dedup();
            let answer = self.ask_one(&mut connection, &part.message, true).await?;
            // A later part that fails fails the call too: repeating what was applied changes nothing.
            Asked {
                client: &self.client,
                owners: &owners,
                zone: &zone.name,
            }
            .update(&part.message, answer)?;
            tracing::debug!(
                server = %self.client.server, zone = %zone.name, changes = part.places.len(), "updated"
            );
        }

        readback::check(self, &mut connection, changes, &mut outcomes).await;
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
    /// Asks a question; signed, because a server with views may choose the view by the key, and unsigned where it does
    /// not want signed questions.
    async fn query(
        &self,
        connection: &mut Connection,
        question: &Message,
    ) -> Result<Message, ProviderError> {
        if self.client.key.is_some() {
            match self.ask_one(connection, question, true).await? {
                Ok(answer) if !declined(&answer) => return Ok(answer),
                Ok(_) | Err(VerifyError::OtherKey | VerifyError::Unsigned(_)) => {}
                Err(error) => return Err(answer::verify_error(&self.client, &error)),
            }
        }
        self.ask_one(connection, question, false)
            .await?
            .map_err(|e| answer::verify_error(&self.client, &e))
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

/// What an answer to a SOA question says about the zones of the server.
#[derive(Debug, Eq, PartialEq)]
enum Held {
    /// Not this name, but perhaps a zone above it.
    LookAbove(DomainName),
    Nothing,
    Zone(DomainName),
}

impl Held {
    fn read(name: &DomainName, answer: &Message) -> Self {
        let apex = |records: &[hickory_proto::rr::Record]| {
            records
                .iter()
                .filter(|r| matches!(r.data, RData::SOA(_)))
                .filter_map(|r| update::domain_name(&r.name))
                .find(|apex| name.is_within(apex))
        };
        if !answer.metadata.authoritative {
            // A referral: the server holds the zone above, if any.
            return answer
                .authorities
                .iter()
                .filter(|r| answer.answers.is_empty() && matches!(r.data, RData::NS(_)))
                .filter_map(|r| update::domain_name(&r.name))
                .find(|cut| name.is_within(cut))
                .map_or(Self::Nothing, Self::LookAbove);
        }
        // An alias is no apex, and the SOA that comes with it may be its target's.
        if answer
            .answers
            .iter()
            .any(|r| matches!(r.data, RData::CNAME(_)))
        {
            return Self::LookAbove(name.clone());
        }
        apex(&answer.answers)
            .or_else(|| apex(&answer.authorities))
            .map_or(Self::Nothing, Self::Zone)
    }
}

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let server = settings
        .text(SERVER)
        .ok_or_else(|| settings.missing(SERVER))?
        .parse::<Server>()
        .map_err(|error| {
            SettingsError::malformed(SERVER, error.to_string())
                .with_hint("write `ns1.example.com`, `192.0.2.1:5353` or `[2001:db8::1]:5353`")
        })?;
    let zone = settings
        .text(ZONE)
        .map(|text| {
            text.parse::<DomainName>()
                .map_err(|_| SettingsError::malformed(ZONE, format!("`{text}` is no zone")))
        })
        .transpose()?;
    let ttl = settings.number(TTL)?.unwrap_or(DEFAULT_TTL);
    if ttl > MAX_TTL {
        return Err(SettingsError::malformed(
            TTL,
            format!("{ttl} is more than {MAX_TTL} (RFC 2181 section 8)"),
        ));
    }
    Ok(Arc::new(Rfc2136 {
        client: Client {
            context: context.clone(),
            key: key(settings)?,
            server,
            timeout: settings.duration(TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT),
        },
        ttl,
        zone,
    }))
}

fn key(settings: &Checked) -> Result<Option<Key>, SettingsError> {
    let unsigned = settings.flag(UNSIGNED)?;
    let given = [TSIG_NAME, TSIG_SECRET, KEY_FILE]
        .into_iter()
        .find(|key| settings.has(key));
    match (unsigned, given) {
        (true, None) => return Ok(None),
        (true, Some(key)) => {
            return Err(
                SettingsError::malformed(UNSIGNED, format!("`{key}` is set as well"))
                    .with_hint("leave one of them out"),
            );
        }
        (false, None) => {
            return Err(
                SettingsError::malformed(TSIG_NAME, "there is no key to sign updates with")
                    .with_hint(
                        "set `tsig.name` and `tsig.secret` (RFC2136_TSIG_KEY and RFC2136_TSIG_SECRET), or `key-file` (RFC2136_TSIG_FILE); or `unsigned: true` if the server wants no signature",
                    ),
            );
        }
        (false, Some(_)) => {}
    }

    let algorithm = match settings.text(TSIG_ALGORITHM) {
        Some(text) => Some(text.parse().map_err(|e| malformed(TSIG_ALGORITHM, &e))?),
        None => None,
    };
    match settings.secret(KEY_FILE) {
        Some(_) if settings.has(TSIG_SECRET) => Err(SettingsError::malformed(
            KEY_FILE,
            format!("`{TSIG_SECRET}` is set as well"),
        )
        .with_hint("leave one of them out")),
        Some(content) => key_from_file(settings, &content, algorithm).map(Some),
        None => {
            let name = settings
                .text(TSIG_NAME)
                .ok_or_else(|| settings.missing(TSIG_NAME))?;
            let secret = settings
                .secret(TSIG_SECRET)
                .ok_or_else(|| settings.missing(TSIG_SECRET))?;
            Key::new(name, algorithm.unwrap_or_default(), &secret)
                .map(Some)
                .map_err(|e| match e {
                    KeyError::Name(_) => malformed(TSIG_NAME, &e),
                    _ => malformed(TSIG_SECRET, &e),
                })
        }
    }
}

fn key_from_file(
    settings: &Checked,
    content: &SecretString,
    algorithm: Option<Algorithm>,
) -> Result<Key, SettingsError> {
    let keys = keyfile::parse(content.expose_secret()).map_err(|error| {
        SettingsError::malformed(KEY_FILE, error.to_string())
            .with_hint("make one with `tsig-keygen -a hmac-sha256 NAME`")
    })?;
    let wanted = settings.text(TSIG_NAME);
    let same = |a: &str, b: &str| {
        a.trim_end_matches('.')
            .eq_ignore_ascii_case(b.trim_end_matches('.'))
    };
    let Some(key) = keys
        .iter()
        .find(|key| wanted.is_none_or(|wanted| same(&key.name, wanted)))
    else {
        let names: Vec<&str> = keys.iter().map(|k| k.name.as_str()).collect();
        return Err(SettingsError::malformed(
            KEY_FILE,
            format!("it holds no key `{}`", wanted.unwrap_or_default()),
        )
        .with_hint(format!("it holds {}", names.join(", "))));
    };
    let algorithm = match &key.algorithm {
        Some(text) => text.parse().map_err(|e| malformed(KEY_FILE, &e))?,
        None => algorithm.unwrap_or_default(),
    };
    Key::new(&key.name, algorithm, &key.secret).map_err(|e| malformed(KEY_FILE, &e))
}

fn malformed(key: &'static str, error: &KeyError) -> SettingsError {
    SettingsError::malformed(key, error.to_string()).with_hint(error.hint())
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

const SERVER: &str = "server";
const TSIG_NAME: &str = "tsig.name";
const TSIG_SECRET: &str = "tsig.secret";
const TSIG_ALGORITHM: &str = "tsig.algorithm";
const KEY_FILE: &str = "key-file";
const UNSIGNED: &str = "unsigned";
const ZONE: &str = "zone";
const TTL: &str = "ttl";
const TIMEOUT: &str = "timeout";

/// What lego waits; a primary that needs longer for an UPDATE is in trouble.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// A CA's resolver may keep what it saw for this long, so that shorter is better.
const DEFAULT_TTL: u32 = 1;
const MAX_TTL: u32 = 0x7fff_ffff;

const PERMISSIONS: &str = "\
A key that may change TXT at the challenge names, and nothing else. Make it with `tsig-keygen -a hmac-sha256 acme-key`.

BIND, in the zone's statement (one line a name, or `zonesub TXT` for all names):
    update-policy { grant acme-key. name _acme-challenge.example.com. TXT; };

Knot, named in the zone's `acl`:
    acl:
      - id: acme
        key: acme-key
        action: update
        update-type: TXT
        update-owner: name
        update-owner-match: equal
        update-owner-name: _acme-challenge.example.com.

PowerDNS, with `dnsupdate=yes` (a key may change the whole zone, so delegate `_acme-challenge` to a zone of its own):
    pdnsutil import-tsig-key acme-key hmac-sha256 SECRET
    pdnsutil set-meta example.com TSIG-ALLOW-DNSUPDATE acme-key
";
