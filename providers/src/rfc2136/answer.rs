//! What a server's refusal means, and what to do about it.
//!
//! Every response code and every TSIG error has a sentence of its own, because "NOTAUTH" alone has sent many people
//! looking in the wrong place: it means one of two quite different things (RFC 8945 section 5.3.2).

use dnseal_core::dns::DomainName;
use dnseal_core::dns::ProviderError;
use hickory_proto::op::Message;
use hickory_proto::op::ResponseCode;

use crate::rfc2136::exchange;
use crate::rfc2136::exchange::Client;
use crate::rfc2136::exchange::ExchangeError;
use crate::rfc2136::tsig::FUDGE;
use crate::rfc2136::tsig::Key;
use crate::rfc2136::tsig::TsigError;
use crate::rfc2136::tsig::VerifyError;
use crate::rfc2136::zones::Standing;

/// What was asked, for the words of an error.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) client: &'a Client,
    /// The distinct owner names of an UPDATE.
    pub(super) owners: &'a [&'a DomainName],
    pub(super) zone: &'a DomainName,
}

/// Why an UPDATE was not done.
#[derive(Debug)]
pub(super) enum UpdateError {
    /// The server says so, and signs what it says.
    Known(ProviderError),
    /// Some servers sign nothing when they do not accept the request's signature, so that this code means two things.
    Unsigned(ResponseCode),
}

impl Asked<'_> {
    /// The error of an UPDATE that was answered, unless it was done.
    pub(super) fn update(
        &self,
        request: &Message,
        answer: Result<Message, VerifyError>,
    ) -> Result<(), UpdateError> {
        let code = match answer {
            Ok(answer) => answer.metadata.response_code,
            // An unsigned success is not believed, an unsigned refusal does no harm.
            Err(VerifyError::Unsigned(octets)) => {
                let code = exchange::parse(&octets, request).map(|a| a.metadata.response_code);
                match code {
                    Ok(code @ (ResponseCode::NotAuth | ResponseCode::Refused)) => {
                        return Err(UpdateError::Unsigned(code));
                    }
                    Ok(code) if code != ResponseCode::NoError => code,
                    _ => {
                        let error = verify_error(self.client, &VerifyError::Unsigned(octets));
                        return Err(UpdateError::Known(error));
                    }
                }
            }
            Err(error) => return Err(UpdateError::Known(verify_error(self.client, &error))),
        };
        match code {
            ResponseCode::NoError => Ok(()),
            code => Err(UpdateError::Known(self.refusal(code))),
        }
    }

    /// The error that an unsigned `code` means, as key and zone stand with the server.
    pub(super) fn declined(&self, code: ResponseCode, standing: &Standing) -> ProviderError {
        match standing {
            Standing::BadSignature(error) => verify_error(self.client, error),
            Standing::Good | Standing::Unknown => self.refusal(code),
            Standing::NoZone => self.refusal(ResponseCode::NotAuth),
            Standing::KeyDeclined => ProviderError::Credentials {
                detail: format!(
                    "it does not accept what the key {} signs ({}), and does not say why",
                    key_in_words(self.client),
                    mnemonic(code)
                ),
                endpoint: self.client.server.to_string(),
                hint: Some(format!(
                    "compare name, algorithm and secret with the key on the server, and the clocks of both machines, which may differ by {FUDGE} s; the server's log says which it is"
                )),
            },
        }
    }

    fn refusal(&self, code: ResponseCode) -> ProviderError {
        let Self { zone, .. } = self;
        let endpoint = self.client.server.to_string();
        let key = self.client.key.as_ref();
        let owners = self.owners_in_words();
        match code {
            ResponseCode::Refused => ProviderError::Refused {
                detail: match key {
                    Some(key) => format!(
                        "the key `{}` may not change TXT at {owners} (REFUSED)",
                        key.name()
                    ),
                    None => format!("unsigned updates of {owners} are not allowed (REFUSED)"),
                },
                endpoint,
                hint: Some(match key {
                    Some(key) => self.grant(key),
                    None => KEY_HINT.to_owned(),
                }),
            },
            ResponseCode::NotAuth => ProviderError::Misconfigured {
                detail: format!(
                    "{endpoint} is not authoritative for {zone}, or no primary of it (NOTAUTH)"
                ),
                hint: Some(match key {
                    Some(_) => format!(
                        "set `server` to the primary server of {zone}, or `zone` to the zone that this server holds"
                    ),
                    // Knot says the same to an unsigned update of a zone that wants a signature.
                    None => format!(
                        "it may want a signature: {KEY_HINT}; otherwise set `server` to the primary server of {zone}"
                    ),
                }),
            },
            ResponseCode::NotZone => ProviderError::Refused {
                detail: format!("{owners} is not in the zone {zone} (NOTZONE)"),
                endpoint,
                hint: Some("correct `zone`, or leave it out".to_owned()),
            },
            ResponseCode::ServFail => ProviderError::Unreachable {
                detail: format!("it says that it could not update {zone} (SERVFAIL)"),
                endpoint,
            },
            ResponseCode::FormErr => ProviderError::Refused {
                detail: "it could not read the update (FORMERR)".to_owned(),
                endpoint,
                hint: None,
            },
            ResponseCode::NotImp => ProviderError::Unsupported {
                detail: format!("it takes no dynamic updates of {zone} (NOTIMP)"),
                endpoint,
            },
            // The answers to prerequisites (RFC 2136 section 2.4), of which we send none.
            ResponseCode::NXDomain
            | ResponseCode::YXDomain
            | ResponseCode::YXRRSet
            | ResponseCode::NXRRSet => ProviderError::Refused {
                detail: format!(
                    "it answered {} to an update of {owners} without prerequisites",
                    mnemonic(code)
                ),
                endpoint,
                hint: None,
            },
            code => ProviderError::Refused {
                detail: format!("it answered {} to an update of {owners}", mnemonic(code)),
                endpoint,
                hint: None,
            },
        }
    }

    fn owners_in_words(&self) -> String {
        match self.owners {
            [] => self.zone.to_string(),
            [one] => one.to_string(),
            [one, other] => format!("{one} or {other}"),
            [first, rest @ ..] => format!("{first} or one of {} other names", rest.len()),
        }
    }

    fn grant(&self, key: &Key) -> String {
        let owner = self.owners.first().copied().unwrap_or(self.zone);
        format!(
            "let the key change it; in BIND: update-policy {{ grant {}. name {owner}. TXT; }}; in others as `dnseal provider show rfc2136` says",
            key.name()
        )
    }
}

/// Why an answer is not believed, as an error of the provider.
pub(super) fn verify_error(client: &Client, error: &VerifyError) -> ProviderError {
    let endpoint = client.server.to_string();
    let (name, algorithm) = names(client);
    let credentials = |detail: String, hint: Option<String>| ProviderError::Credentials {
        detail,
        endpoint: endpoint.clone(),
        hint,
    };
    match error {
        VerifyError::Malformed => ProviderError::Unreachable {
            detail: "what came back is no DNS answer to what was asked".to_owned(),
            endpoint,
        },
        VerifyError::Mac => credentials(
            format!("the signature of its answer does not match the key `{name}`"),
            Some("something between this machine and the server changes answers, or the server signs with another secret".to_owned()),
        ),
        VerifyError::OtherKey => credentials(
            format!("its answer is signed with another key or algorithm than `{name}` with {algorithm}"),
            None,
        ),
        VerifyError::Time(skew) => ProviderError::Clock {
            detail: format!("its answer was signed {} this machine's clock", ahead_or_behind(*skew)),
            endpoint,
        },
        VerifyError::Unsigned(_) => credentials(
            format!("its answer is not signed, although the request was, with the key `{name}`"),
            Some("something between this machine and the server answers in its place, or the server does not check signatures".to_owned()),
        ),
        VerifyError::Tsig(TsigError::BadKey) => credentials(
            format!("it has no key `{name}` with {algorithm} that may do this (BADKEY)"),
            Some(format!(
                "compare name and algorithm with the server's key (`{algorithm}` is used here), and whether the zone lets this key update it"
            )),
        ),
        VerifyError::Tsig(TsigError::BadSig) => credentials(
            format!("the signature made with the key `{name}` is wrong (BADSIG)"),
            Some("the secret differs from the one on the server; copy it again".to_owned()),
        ),
        VerifyError::Tsig(TsigError::BadTime(skew)) => ProviderError::Clock {
            detail: match skew {
                Some(skew) => format!(
                    "its clock is {} this machine's, and {FUDGE} s are allowed (BADTIME)",
                    ahead_or_behind(*skew)
                ),
                None => format!("its clock differs from this machine's by more than {FUDGE} s (BADTIME)"),
            },
            endpoint,
        },
        VerifyError::Tsig(TsigError::BadTrunc) => credentials(
            format!("it wants another length of signatures than {algorithm} has (BADTRUNC)"),
            Some("name the algorithm without a length on the server, such as `hmac-sha256`".to_owned()),
        ),
        VerifyError::Tsig(TsigError::Other(code)) => credentials(
            format!("it refused the signature made with the key `{name}` (TSIG error {code})"),
            None,
        ),
    }
}

/// No answer at all, as an error of the provider.
pub(super) fn exchange_error(client: &Client, error: &ExchangeError) -> ProviderError {
    ProviderError::Unreachable {
        detail: error.to_string(),
        endpoint: client.server.to_string(),
    }
}

/// The code as RFC 1035 and its successors write it.
pub(super) fn mnemonic(code: ResponseCode) -> String {
    match code {
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::NXRRSet => "NXRRSET".to_owned(),
        ResponseCode::NotAuth => "NOTAUTH".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        ResponseCode::NotZone => "NOTZONE".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::YXDomain => "YXDOMAIN".to_owned(),
        ResponseCode::YXRRSet => "YXRRSET".to_owned(),
        other => format!("response code {}", u16::from(other)),
    }
}

fn key_in_words(client: &Client) -> String {
    let (name, algorithm) = names(client);
    format!("`{name}` with {algorithm}")
}

/// Name and algorithm of the key; only asked for where there is one.
fn names(client: &Client) -> (&str, &str) {
    client.key.as_ref().map_or(("", ""), |key| {
        (key.name().as_str(), key.algorithm().name())
    })
}

fn ahead_or_behind(skew: i64) -> String {
    let seconds = skew.unsigned_abs();
    match skew < 0 {
        true => format!("{seconds} s behind"),
        false => format!("{seconds} s ahead of"),
    }
}

const KEY_HINT: &str = "set `tsig.name` and `tsig.secret`, or `key-file`";
