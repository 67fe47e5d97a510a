//! Transaction signatures (RFC 8945): a request goes out signed, and an answer is believed when its MAC is right.
//!
//! Works on messages as they are on the wire, because that is what the MAC covers. What a server says in the error field
//! comes out as [`TsigError`], before anything else is looked at, since BADKEY and BADSIG answers carry no MAC at all.

use std::fmt;
use std::str::FromStr;
use std::time::SystemTime;
use std::time::UNIX_EPOCH;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use dnseal_core::dns::DomainName;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::rfc2136::wire::ARCOUNT;
use crate::rfc2136::wire::Malformed;
use crate::rfc2136::wire::Signature;
use crate::rfc2136::wire::read_u16;
use crate::rfc2136::wire::split;
use crate::rfc2136::wire::wire_name;
use crate::rfc2136::wire::write_u16;
use crate::settings::nearest;

/// A key that both sides know.
pub(super) struct Key {
    algorithm: Algorithm,
    name: DomainName,
    secret: hmac::Key,
}

impl Key {
    /// A key from the base64 of its secret.
    pub(super) fn new(
        name: &str,
        algorithm: Algorithm,
        secret: &SecretString,
    ) -> Result<Self, KeyError> {
        let name = name.parse().map_err(|_| KeyError::Name(name.to_owned()))?;
        let text: String = secret.expose_secret().split_whitespace().collect();
        let octets = STANDARD.decode(&text).map_err(|_| KeyError::Base64)?;
        if octets.is_empty() {
            return Err(KeyError::Empty);
        }
        Ok(Self {
            algorithm,
            name,
            secret: hmac::Key::new(algorithm.hmac(), &octets),
        })
    }

    pub(super) fn name(&self) -> &DomainName {
        &self.name
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Appends the signature to `message`; gives back the MAC, which the answer's MAC covers.
    pub(super) fn sign(
        &self,
        message: &mut Vec<u8>,
        now: SystemTime,
    ) -> Result<Vec<u8>, Malformed> {
        let id = read_u16(message, 0)?;
        let additionals = read_u16(message, ARCOUNT)?;
        let signature = Signature {
            algorithm: wire_name(self.algorithm.name()),
            error: 0,
            fudge: FUDGE,
            id,
            mac: Vec::new(),
            name: wire_name(self.name.as_str()),
            other: Vec::new(),
            time: unix_seconds(now),
        };
        let mut covered = message.clone();
        covered.extend(signature.variables());
        let mac = hmac::sign(&self.secret, &covered).as_ref().to_vec();

        message.extend(
            Signature {
                mac: mac.clone(),
                ..signature
            }
            .record(),
        );
        write_u16(
            message,
            ARCOUNT,
            additionals.checked_add(1).ok_or(Malformed)?,
        );
        Ok(mac)
    }

    /// Checks the signature of an answer to a request with `request_mac`; gives back the answer without it.
    pub(super) fn verify(
        &self,
        answer: &[u8],
        request_mac: &[u8],
        now: SystemTime,
    ) -> Result<Vec<u8>, VerifyError> {
        let (mut message, signature) = split(answer)?;
        let Some(signature) = signature else {
            return Err(VerifyError::Unsigned(message));
        };

        // These two come without a MAC (RFC 8945 section 5.3.2), and can only make us give up.
        match signature.error {
            BADSIG => return Err(TsigError::BadSig.into()),
            BADKEY => return Err(TsigError::BadKey.into()),
            _ => {}
        }

        if signature.name != wire_name(self.name.as_str())
            || signature.algorithm != wire_name(self.algorithm.name())
        {
            return Err(VerifyError::OtherKey);
        }
        write_u16(&mut message, 0, signature.id);
        let mut covered = Vec::with_capacity(message.len() + 256);
        // The MAC of a request is as long as a digest.
        covered.extend(u16::try_from(request_mac.len()).unwrap_or(0).to_be_bytes());
        covered.extend(request_mac);
        covered.extend(&message);
        covered.extend(signature.variables());
        hmac::verify(&self.secret, &covered, &signature.mac).map_err(|_| VerifyError::Mac)?;

        match signature.error {
            0 => {}
            BADTIME => {
                let theirs = match <[u8; 6]>::try_from(signature.other.as_slice()) {
                    Ok([a, b, c, d, e, f]) => u64::from_be_bytes([0, 0, a, b, c, d, e, f]),
                    Err(_) => return Err(TsigError::BadTime(None).into()),
                };
                return Err(TsigError::BadTime(Some(skew(theirs, now))).into());
            }
            BADTRUNC => return Err(TsigError::BadTrunc.into()),
            other => return Err(TsigError::Other(other).into()),
        }
        let skew = skew(signature.time, now);
        match skew.unsigned_abs() > u64::from(signature.fudge) {
            true => Err(VerifyError::Time(skew)),
            false => Ok(message),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// The algorithms of RFC 8945 section 6 that are offered.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) enum Algorithm {
    Sha1,
    Sha224,
    #[default]
    Sha256,
    Sha384,
    Sha512,
}

impl Algorithm {
    pub(super) const ALL: [Self; 5] = [
        Self::Sha1,
        Self::Sha224,
        Self::Sha256,
        Self::Sha384,
        Self::Sha512,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sha1 => "hmac-sha1",
            Self::Sha224 => "hmac-sha224",
            Self::Sha256 => "hmac-sha256",
            Self::Sha384 => "hmac-sha384",
            Self::Sha512 => "hmac-sha512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha224 => hmac::HMAC_SHA224,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha384 => hmac::HMAC_SHA384,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if let Some(found) = Self::ALL.into_iter().find(|a| a.name() == name) {
            return Ok(found);
        }
        match name.as_str() {
            "hmac-md5" | "hmac-md5.sig-alg.reg.int" => Err(KeyError::Md5),
            "gss-tsig" | "gss.microsoft.com" => Err(KeyError::Gss),
            _ => Err(KeyError::Algorithm {
                given: text.to_owned(),
                nearest: nearest(&name, Self::ALL.iter().map(|a| a.name())),
            }),
        }
    }
}

/// Why there is no key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum KeyError {
    #[error("there is no TSIG algorithm `{given}`")]
    Algorithm {
        given: String,
        nearest: Option<&'static str>,
    },
    #[error("the secret is not base64")]
    Base64,
    #[error("the secret is empty")]
    Empty,
    #[error("gss-tsig is not supported")]
    Gss,
    #[error("hmac-md5 must not be used for TSIG any more (RFC 8945 section 6)")]
    Md5,
    #[error("`{0}` is no name of a TSIG key")]
    Name(String),
}

impl KeyError {
    /// What to do about it.
    pub(super) fn hint(&self) -> String {
        match self {
            Self::Algorithm {
                nearest: Some(nearest),
                ..
            } => format!("did you mean `{nearest}`?"),
            Self::Algorithm { .. } => {
                let names: Vec<&str> = Algorithm::ALL.iter().map(|a| a.name()).collect();
                format!("there is {}", names.join(", "))
            }
            Self::Base64 | Self::Empty => {
                "give the text after `secret` in the key file of the server, without the quotes"
                    .to_owned()
            }
            Self::Gss | Self::Md5 => {
                "make a key with `tsig-keygen -a hmac-sha256 NAME`, and put it on the server as well"
                    .to_owned()
            }
            Self::Name(_) => {
                "give the name after `key` in the key file of the server, such as `acme-key`"
                    .to_owned()
            }
        }
    }
}

/// Why an answer is not believed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum VerifyError {
    /// The MAC is wrong.
    Mac,
    /// The message cannot be read.
    Malformed,
    /// Signed with a key that the request was not signed with.
    OtherKey,
    /// Signed at a time that many seconds ahead of ours.
    Time(i64),
    /// The server says why it refused the request's signature.
    Tsig(TsigError),
    /// No signature; the answer is inside.
    Unsigned(Vec<u8>),
}

impl From<TsigError> for VerifyError {
    fn from(error: TsigError) -> Self {
        Self::Tsig(error)
    }
}

impl From<Malformed> for VerifyError {
    fn from(_: Malformed) -> Self {
        Self::Malformed
    }
}

/// What a server says about the signature of a request (RFC 8945 section 3).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum TsigError {
    BadKey,
    BadSig,
    /// The server's clock is that many seconds ahead of ours.
    BadTime(Option<i64>),
    BadTrunc,
    Other(u16),
}

/// A message without its signature.
pub(super) fn without_signature(message: &[u8]) -> Result<Vec<u8>, Malformed> {
    split(message).map(|(message, _)| message)
}

fn unix_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// How many seconds `theirs` is ahead of `now`.
fn skew(theirs: u64, now: SystemTime) -> i64 {
    i64::try_from(i128::from(theirs) - i128::from(unix_seconds(now))).unwrap_or(i64::MAX)
}

const BADKEY: u16 = 17;
const BADSIG: u16 = 16;
const BADTIME: u16 = 18;
const BADTRUNC: u16 = 22;
/// What RFC 8945 section 10 recommends.
pub(super) const FUDGE: u16 = 300;
