//! Transaction signatures (RFC 8945): keys with what they may change, checking requests, signing responses.
//!
//! Works on the octets of a message, because the signature covers them as sent. The code is the server's own, so that
//! a client that shares another library with it is still checked by something else.

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hickory_proto::op::Header;
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, DecodeError};
use thiserror::Error;

use super::ZoneError;
use super::record;

/// Seconds that the clocks of client and server may differ (RFC 8945 section 10).
const FUDGE: u16 = 300;

/// `ANY`, the class of a TSIG record.
const CLASS_ANY: u16 = 255;

/// How a key signs (RFC 8945 section 6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TsigAlgorithm {
    /// `hmac-sha1`, not recommended.
    HmacSha1,
    /// `hmac-sha224`.
    HmacSha224,
    /// `hmac-sha256`.
    HmacSha256,
    /// `hmac-sha384`.
    HmacSha384,
    /// `hmac-sha512`.
    HmacSha512,
}

impl TsigAlgorithm {
    /// The name on the wire and in configurations, such as `hmac-sha256`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::HmacSha1 => "hmac-sha1",
            Self::HmacSha224 => "hmac-sha224",
            Self::HmacSha256 => "hmac-sha256",
            Self::HmacSha384 => "hmac-sha384",
            Self::HmacSha512 => "hmac-sha512",
        }
    }

    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::HmacSha224 => hmac::HMAC_SHA224,
            Self::HmacSha256 => hmac::HMAC_SHA256,
            Self::HmacSha384 => hmac::HMAC_SHA384,
            Self::HmacSha512 => hmac::HMAC_SHA512,
        }
    }
}

impl FromStr for TsigAlgorithm {
    type Err = TsigKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let all = [
            Self::HmacSha1,
            Self::HmacSha224,
            Self::HmacSha256,
            Self::HmacSha384,
            Self::HmacSha512,
        ];
        let text = text.trim_end_matches('.').to_ascii_lowercase();
        let found = all.into_iter().find(|algorithm| algorithm.as_str() == text);
        found.ok_or(TsigKeyError::Algorithm(text))
    }
}

/// A shared key, and what a client that has it may change.
///
/// Unless restricted, it may change any name in any zone of the server.
#[derive(Clone)]
#[must_use]
pub struct TsigKey {
    name: String,
    algorithm: TsigAlgorithm,
    secret: Vec<u8>,
    zones: Option<Vec<String>>,
    owners: Option<Vec<String>>,
    only_txt: bool,
}

impl TsigKey {
    /// A key with a given secret.
    pub fn new(
        name: impl Into<String>,
        algorithm: TsigAlgorithm,
        secret: impl Into<Vec<u8>>,
    ) -> Self {
        Self {
            name: name.into(),
            algorithm,
            secret: secret.into(),
            zones: None,
            owners: None,
            only_txt: false,
        }
    }

    /// An `hmac-sha256` key with a random secret.
    pub fn generate(name: impl Into<String>) -> Result<Self, TsigKeyError> {
        let mut secret = vec![0; 32];
        let filled = SystemRandom::new().fill(&mut secret);
        filled.map_err(|_| TsigKeyError::Random)?;
        Ok(Self::new(name, TsigAlgorithm::HmacSha256, secret))
    }

    /// May change only these names.
    pub fn only_names<S: Into<String>>(mut self, owners: impl IntoIterator<Item = S>) -> Self {
        self.owners = Some(owners.into_iter().map(Into::into).collect());
        self
    }

    /// May change only `TXT` records.
    pub fn only_txt(mut self) -> Self {
        self.only_txt = true;
        self
    }

    /// May change only the zones with these origins.
    pub fn only_zones<S: Into<String>>(mut self, origins: impl IntoIterator<Item = S>) -> Self {
        self.zones = Some(origins.into_iter().map(Into::into).collect());
        self
    }

    /// The key's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it signs.
    pub fn algorithm(&self) -> TsigAlgorithm {
        self.algorithm
    }

    /// The secret in base64, as key files and configurations have it.
    pub fn secret_base64(&self) -> String {
        STANDARD.encode(&self.secret)
    }
}

/// Reads `ALGORITHM:NAME:BASE64`, as `nsupdate -y` does.
impl FromStr for TsigKey {
    type Err = TsigKeyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.splitn(3, ':');
        let (Some(algorithm), Some(name), Some(secret)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(TsigKeyError::Form);
        };
        let secret = STANDARD.decode(secret).map_err(|_| TsigKeyError::Secret)?;
        Ok(Self::new(name, algorithm.parse()?, secret))
    }
}

impl fmt::Debug for TsigKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TsigKey")
            .field("name", &self.name)
            .field("algorithm", &self.algorithm)
            .field("secret", &"[redacted]")
            .field("zones", &self.zones)
            .field("owners", &self.owners)
            .field("only_txt", &self.only_txt)
            .finish()
    }
}

/// Why a key could not be made.
#[derive(Clone, Debug, Eq, Error, PartialEq)]
#[non_exhaustive]
pub enum TsigKeyError {
    /// Not an algorithm that is known here.
    #[error("unknown TSIG algorithm: {0}")]
    Algorithm(String),
    /// Not three parts.
    #[error("TSIG key is not of the form algorithm:name:secret")]
    Form,
    /// No random octets to be had.
    #[error("system random number generator failed")]
    Random,
    /// The secret is not base64.
    #[error("TSIG secret is not base64")]
    Secret,
}

/// A key as the server holds it.
#[derive(Debug)]
pub(super) struct Key {
    pub(super) name: Name,
    key: hmac::Key,
    algorithm: TsigAlgorithm,
    zones: Option<Vec<Name>>,
    owners: Option<Vec<Name>>,
    only_txt: bool,
}

impl Key {
    pub(super) fn new(key: &TsigKey) -> Result<Self, ZoneError> {
        let names = |names: &Option<Vec<String>>| {
            let parse = |names: &Vec<String>| names.iter().map(|name| record::name(name)).collect();
            names.as_ref().map(parse).transpose()
        };
        Ok(Self {
            name: record::name(&key.name)?.to_lowercase(),
            key: hmac::Key::new(key.algorithm.hmac(), &key.secret),
            algorithm: key.algorithm,
            zones: names(&key.zones)?,
            owners: names(&key.owners)?,
            only_txt: key.only_txt,
        })
    }

    /// Octets of a whole MAC.
    fn mac_len(&self) -> usize {
        self.key.algorithm().digest_algorithm().output_len()
    }

    /// Whether it may change this type at this name.
    pub(super) fn permits(&self, zone: &Name, owner: &Name, rtype: RecordType) -> bool {
        let listed = |names: &Option<Vec<Name>>, name| {
            names.as_ref().is_none_or(|names| names.contains(name))
        };
        listed(&self.zones, zone)
            && listed(&self.owners, owner)
            && (!self.only_txt || rtype == RecordType::TXT)
    }
}

/// Error codes of RFC 8945 section 3.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u16)]
pub(super) enum TsigError {
    Signature = 16,
    Key = 17,
    Time = 18,
    Truncation = 22,
}

/// What the signature of a request turned out to be.
#[derive(Debug)]
pub(super) enum Verdict<'a> {
    /// There is none.
    Unsigned,
    /// The record is no TSIG record, or has a MAC of an impossible length.
    Malformed,
    /// It is good: answer and sign.
    Good(Signer<'a>),
    /// It is bad: answer `NOTAUTH`, with the record that this signer makes.
    Bad(Signer<'a>),
}

/// Makes the TSIG record of a response.
#[derive(Debug)]
pub(super) struct Signer<'a> {
    /// None where the response must go unsigned (RFC 8945 sections 5.2.1 and 5.2.2).
    key: Option<&'a Key>,
    request: Tsig,
    error: Option<TsigError>,
    time: u64,
}

impl<'a> Signer<'a> {
    /// The key that signed the request.
    pub(super) fn key(&self) -> Option<&'a Key> {
        self.key
    }

    /// Octets that signing adds to a response.
    pub(super) fn overhead(&self) -> usize {
        let mac = self.key.map_or(0, Key::mac_len);
        let names = self.request.name.len() + self.request.algorithm.len();
        names + 10 + 16 + mac + 6
    }

    /// Appends the TSIG record to an encoded response.
    pub(super) fn sign(&self, response: &mut Vec<u8>) {
        let late = self.error == Some(TsigError::Time);
        let mut tsig = Tsig {
            name: self.request.name.clone(),
            algorithm: self.request.algorithm.clone(),
            // RFC 8945 section 5.2.3: the client's time, and the server's beside it.
            time: if late { self.request.time } else { self.time },
            fudge: FUDGE,
            mac: Vec::new(),
            original_id: self.request.original_id,
            error: self.error.map_or(0, |error| error as u16),
            other: if late {
                self.time.to_be_bytes()[2..].to_vec()
            } else {
                Vec::new()
            },
        };
        if let Some(key) = self.key {
            let mut covered = Vec::new();
            // At most 64 octets.
            covered.extend((self.request.mac.len() as u16).to_be_bytes());
            covered.extend(&self.request.mac);
            covered.extend(&*response);
            tsig.variables(&mut covered);
            tsig.mac = hmac::sign(&key.key, &covered).as_ref().to_vec();
        }
        tsig.append(response);
    }
}

/// Checks the signature of a request, if it has one, at `now` in seconds since 1970.
pub(super) fn verify<'a>(keys: &'a [Key], message: &[u8], now: u64) -> Verdict<'a> {
    let (start, tsig) = match Tsig::of(message) {
        Ok(Some(found)) => found,
        Ok(None) => return Verdict::Unsigned,
        Err(_) => return Verdict::Malformed,
    };
    let algorithm = record::text(&tsig.algorithm);
    let found = keys
        .iter()
        .find(|key| key.name == tsig.name && key.algorithm.as_str() == algorithm);
    let signer = |key, error, request| Signer {
        key,
        request,
        error,
        time: now,
    };
    let Some(key) = found else {
        return Verdict::Bad(signer(None, Some(TsigError::Key), tsig));
    };
    let full = key.mac_len();
    if tsig.mac.len() > full || tsig.mac.len() < 10.max(full / 2) {
        return Verdict::Malformed;
    }
    let mut covered = message[..start].to_vec();
    covered[..2].copy_from_slice(&tsig.original_id.to_be_bytes());
    let additionals = u16::from_be_bytes([covered[10], covered[11]]);
    // `Tsig::of` found one, so there is one.
    covered[10..12].copy_from_slice(&additionals.saturating_sub(1).to_be_bytes());
    tsig.variables(&mut covered);
    let expected = hmac::sign(&key.key, &covered);
    let error = if !expected.as_ref().starts_with(&tsig.mac) {
        return Verdict::Bad(signer(None, Some(TsigError::Signature), tsig));
    } else if now.abs_diff(tsig.time) > u64::from(tsig.fudge) {
        TsigError::Time
    } else if tsig.mac.len() < full {
        TsigError::Truncation
    } else {
        return Verdict::Good(signer(Some(key), None, tsig));
    };
    Verdict::Bad(signer(Some(key), Some(error), tsig))
}

/// A TSIG record (RFC 8945 section 4.2).
#[derive(Clone, Debug)]
struct Tsig {
    name: Name,
    algorithm: Name,
    time: u64,
    fudge: u16,
    mac: Vec<u8>,
    original_id: u16,
    error: u16,
    other: Vec<u8>,
}

impl Tsig {
    /// The TSIG record at the end of a message, and the offset at which it begins.
    fn of(message: &[u8]) -> Result<Option<(usize, Self)>, DecodeError> {
        let mut decoder = BinDecoder::new(message);
        let counts = Header::read(&mut decoder)?.counts;
        for _ in 0..counts.queries {
            Name::read(&mut decoder)?;
            decoder.read_slice(4)?;
        }
        let others = usize::from(counts.answers) + usize::from(counts.authorities);
        let records = others + usize::from(counts.additionals);
        for n in 1..=records {
            let start = decoder.index();
            let name = Name::read(&mut decoder)?;
            let rtype = RecordType::read(&mut decoder)?;
            decoder.read_slice(6)?;
            let length = decoder.read_u16()?.unverified(/* read_slice and read check it */);
            if rtype != RecordType::TSIG {
                decoder.read_slice(usize::from(length))?;
            } else if n == records && n > others {
                return Ok(Some((start, Self::read(name, &mut decoder)?)));
            } else {
                return Err(DecodeError::RecordAfterSig);
            }
        }
        Ok(None)
    }

    fn read(name: Name, decoder: &mut BinDecoder<'_>) -> Result<Self, DecodeError> {
        let octets = |decoder: &mut BinDecoder<'_>| {
            let length = decoder.read_u16()?.unverified(/* read_vec checks it */);
            let octets = decoder.read_vec(usize::from(length))?;
            Ok::<_, DecodeError>(octets.unverified(/* only compared and copied */))
        };
        let number = |decoder: &mut BinDecoder<'_>| {
            Ok::<_, DecodeError>(decoder.read_u16()?.unverified(/* any number will do */))
        };
        let algorithm = Name::read(decoder)?;
        let high = number(decoder)?;
        let low = decoder.read_u32()?.unverified(/* any number will do */);
        Ok(Self {
            name,
            algorithm,
            time: u64::from(high) << 32 | u64::from(low),
            fudge: number(decoder)?,
            mac: octets(decoder)?,
            original_id: number(decoder)?,
            error: number(decoder)?,
            other: octets(decoder)?,
        })
    }

    /// The TSIG variables that the MAC covers (RFC 8945 section 4.3.3).
    fn variables(&self, out: &mut Vec<u8>) {
        canonical(&self.name, out);
        out.extend(CLASS_ANY.to_be_bytes());
        out.extend(0_u32.to_be_bytes());
        canonical(&self.algorithm, out);
        out.extend(&self.time.to_be_bytes()[2..]);
        out.extend(self.fudge.to_be_bytes());
        out.extend(self.error.to_be_bytes());
        self.put_other(out);
    }

    /// Appends the record to a message and counts it.
    fn append(&self, message: &mut Vec<u8>) {
        canonical(&self.name, message);
        message.extend(u16::from(RecordType::TSIG).to_be_bytes());
        message.extend(CLASS_ANY.to_be_bytes());
        message.extend(0_u32.to_be_bytes());
        let mut data = Vec::new();
        canonical(&self.algorithm, &mut data);
        data.extend(&self.time.to_be_bytes()[2..]);
        data.extend(self.fudge.to_be_bytes());
        data.extend((self.mac.len() as u16).to_be_bytes());
        data.extend(&self.mac);
        data.extend(self.original_id.to_be_bytes());
        data.extend(self.error.to_be_bytes());
        self.put_other(&mut data);
        message.extend((data.len() as u16).to_be_bytes());
        message.extend(data);
        let additionals = u16::from_be_bytes([message[10], message[11]]) + 1;
        message[10..12].copy_from_slice(&additionals.to_be_bytes());
    }

    fn put_other(&self, out: &mut Vec<u8>) {
        out.extend((self.other.len() as u16).to_be_bytes());
        out.extend(&self.other);
    }
}

/// A name in canonical wire form (RFC 4034 section 6.2).
fn canonical(name: &Name, out: &mut Vec<u8>) {
    for label in name {
        out.push(label.len() as u8);
        out.extend(label.iter().map(u8::to_ascii_lowercase));
    }
    out.push(0);
}
