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
use crate::rfc2136::wire::length;
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
        let signature = Signature {
            algorithm: wire_name(self.algorithm.name()),
            error: 0,
            fudge: FUDGE,
            id: read_u16(message, 0)?,
            mac: Vec::new(),
            name: wire_name(self.name.as_str()),
            other: Vec::new(),
            time: unix_seconds(now),
        };
        self.seal(message, &[], signature)
    }

    /// Appends `signature`, with the MAC that covers `request_mac` as well if there is one.
    fn seal(
        &self,
        message: &mut Vec<u8>,
        request_mac: &[u8],
        signature: Signature,
    ) -> Result<Vec<u8>, Malformed> {
        let covered = covered(request_mac, message, &signature);
        let mac = hmac::sign(&self.secret, &covered).as_ref().to_vec();
        let additionals = read_u16(message, ARCOUNT)?;
        let record = Signature {
            mac: mac.clone(),
            ..signature
        };
        message.extend(record.record());
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
        let covered = covered(request_mac, &message, &signature);
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
    #[error("{} is no name of a TSIG key", shown(.0))]
    Name(String),
}

/// What may stand where the name should; where it may be the secret, not even that.
fn shown(name: &str) -> String {
    match name.contains(['=', '+', '/']) {
        true => "what is given, which looks like a secret,".to_owned(),
        false => format!("`{name}`"),
    }
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
                "give the text after `secret` in the key file of the server, without the quotes, or the whole file as `key-file`"
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

/// What a MAC is made of (RFC 8945 sections 4.3 and 5.3).
fn covered(request_mac: &[u8], message: &[u8], signature: &Signature) -> Vec<u8> {
    let mut covered = Vec::with_capacity(request_mac.len() + message.len() + 256);
    if !request_mac.is_empty() {
        covered.extend(length(request_mac));
        covered.extend(request_mac);
    }
    covered.extend(message);
    covered.extend(signature.variables());
    covered
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

#[cfg(test)]
pub(super) mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    impl Key {
        /// Signs an answer to `request` as a server does, or says what is wrong with the request's signature.
        pub(in crate::rfc2136) fn sign_answer(
            &self,
            request: &[u8],
            answer: &mut Vec<u8>,
            error: u16,
            other: &[u8],
            now: SystemTime,
        ) {
            let (_, asked) = split(request).unwrap();
            let asked = asked.unwrap();
            let signature = Signature {
                algorithm: asked.algorithm,
                error,
                fudge: FUDGE,
                id: asked.id,
                mac: Vec::new(),
                name: asked.name,
                other: other.to_vec(),
                time: match error {
                    // The client's own time, so that it can check the MAC (RFC 8945 section 5.2.3).
                    BADTIME => asked.time,
                    _ => unix_seconds(now),
                },
            };
            if matches!(error, BADKEY | BADSIG) {
                let additionals = read_u16(answer, ARCOUNT).unwrap();
                answer.extend(signature.record());
                write_u16(answer, ARCOUNT, additionals + 1);
            } else {
                self.seal(answer, &asked.mac, signature).unwrap();
            }
        }
    }

    // All vectors come from dnspython 2.8: `UpdateMessage("example.test.")` with id 0x1234 that adds TXT "value" with TTL 1 at
    // `_acme-challenge`, `use_tsig(Key("Acme-Key.", base64(0..32), ALGORITHM), fudge=300)` at 1,700,000,000; the answers are
    // `make_response` of it, signed with `request_mac` set.

    const BARE: &str = "123428000001000000010000076578616d706c65047465737400000600010f5f61636d652d6368616c6c656e6765c00c001000010000000100060576616c7565";
    const SIGNED_SHA256: &str = "123428000001000000010001076578616d706c65047465737400000600010f5f61636d652d6368616c6c656e6765c00c001000010000000100060576616c75650841636d652d4b65790000fa00ff00000000003d0b686d61632d7368613235360000006553f100012c002034dfbe7a794daba63a8f9c3276a7b7817c632878ca8b2b29f0e31beed29b6d7d123400000000";
    const BADTIME_ANSWER: &str = "1234a8090001000000000001076578616d706c65047465737400000600010841636d652d4b65790000fa00ff0000000000430b686d61632d7368613235360000006553f100012c0020289b7cc25c3b9996c9e729404058fd0553d97f68f77609f7139df2b1c74c2543123400120006000065540172";
    const VECTORS: [(Algorithm, &str, &str); 5] = [
        (
            Algorithm::Sha1,
            "d2bf883422e807e2c26e85d09ba3d23636566477",
            "1234a8000001000000000001076578616d706c65047465737400000600010841636d652d4b65790000fa00ff00000000002f09686d61632d736861310000006553f100012c0014fb4c23ffa35e61bd791bba70d35a928e43f59558123400000000",
        ),
        (
            Algorithm::Sha224,
            "7996cdb2c0939ed9239d53ab53eeaff3c937e18ea9cd6f150d8808b2",
            "1234a8000001000000000001076578616d706c65047465737400000600010841636d652d4b65790000fa00ff0000000000390b686d61632d7368613232340000006553f100012c001c9b9b03dd99433c32dfdb459a1f7450be0e12418046e89e640fe356ba123400000000",
        ),
        (
            Algorithm::Sha256,
            "34dfbe7a794daba63a8f9c3276a7b7817c632878ca8b2b29f0e31beed29b6d7d",
            "1234a8000001000000000001076578616d706c65047465737400000600010841636d652d4b65790000fa00ff00000000003d0b686d61632d7368613235360000006553f100012c0020fe47e48d92dc07ac6ef837c050bac0b307356a25dd98cffb3429645d830b90d8123400000000",
        ),
        (
            Algorithm::Sha384,
            "51243a6febea70dcfbb5ab0919a69391aff5e615586a32394081d7bb42477493cfd6bd56c1930f166dc6bfa90a064635",
            "1234a8000001000000000001076578616d706c65047465737400000600010841636d652d4b65790000fa00ff00000000004d0b686d61632d7368613338340000006553f100012c0030574546cbc8cd1a1d7336d7ebe98eb2693f0e56f08dbc16db5b1dc05a9c7b10148482dc5f386a2d26f082d2cfc4324205123400000000",
        ),
        (
            Algorithm::Sha512,
            "f1039d4ddfe0de1f0c9b6e64349a98778f90ce06f1ca75f7569d6c5a6197b29ae757db3cb2054cd0ec6be47510b965cdecf7db1caf3044fad81218a5346c358e",
            "1234a8000001000000000001076578616d706c65047465737400000600010841636d652d4b65790000fa00ff00000000005d0b686d61632d7368613531320000006553f100012c0040e60cb8ec709a74c656bdf8faf5c440a194a9a6f414491fbd830e414024f728c93e90695ecbe7f86a89806dbca17fd8c2871ae425bc5104d69db9c83e2e385597123400000000",
        ),
    ];

    #[test]
    fn requests_are_signed_as_others_sign_them() {
        for (algorithm, mac, _) in VECTORS {
            let mut message = hex(BARE);
            assert_eq!(
                key(algorithm).sign(&mut message, at(0)).unwrap(),
                hex(mac),
                "{algorithm}"
            );
        }
        let mut message = hex(BARE);
        key(Algorithm::Sha256).sign(&mut message, at(0)).unwrap();
        // dnspython writes the key's name as it was given; the digest has it in lower case.
        let lowered = SIGNED_SHA256.replace("41636d652d4b6579", "61636d652d6b6579");
        assert_eq!(message, hex(&lowered));
    }

    #[test]
    fn answers_that_others_sign_are_verified() {
        for (algorithm, mac, answer) in VECTORS {
            let bare = key(algorithm)
                .verify(&hex(answer), &hex(mac), at(0))
                .unwrap();
            assert_eq!(
                bare,
                hex("1234a8000001000000000000076578616d706c6504746573740000060001")
            );
        }
    }

    #[test]
    fn a_changed_answer_is_not_believed() {
        let (algorithm, mac, answer) = VECTORS[2];
        let (key, mac, answer) = (key(algorithm), hex(mac), hex(answer));
        assert_eq!(key.verify(&answer, &[7; 32], at(0)), Err(VerifyError::Mac));
        let mut other = answer.clone();
        other[3] = 5;
        assert_eq!(key.verify(&other, &mac, at(0)), Err(VerifyError::Mac));
        assert_eq!(
            self::key(Algorithm::Sha512).verify(&answer, &mac, at(0)),
            Err(VerifyError::OtherKey)
        );
        assert_eq!(key.verify(&answer, &mac, at(300)).map(|_| ()), Ok(()));
        assert_eq!(
            key.verify(&answer, &mac, at(301)),
            Err(VerifyError::Time(-301))
        );
        assert_eq!(
            key.verify(&answer[..30], &mac, at(0)),
            Err(VerifyError::Malformed)
        );
        let bare = without_signature(&answer).unwrap();
        assert_eq!(
            key.verify(&bare, &mac, at(0)),
            Err(VerifyError::Unsigned(bare.clone()))
        );
    }

    #[test]
    fn an_answer_of_bad_time_tells_the_skew() {
        let (algorithm, mac, _) = VECTORS[2];
        let error = key(algorithm).verify(&hex(BADTIME_ANSWER), &hex(mac), at(0));
        assert_eq!(error, Err(TsigError::BadTime(Some(4210)).into()));
    }

    #[test]
    fn algorithms_are_known_however_they_are_written() {
        for text in ["hmac-sha256", "HMAC-SHA256", "hmac-sha256.", "Hmac-Sha256."] {
            assert_eq!(text.parse(), Ok(Algorithm::Sha256));
        }
        for (text, part) in [
            ("hmac-md5", "tsig-keygen -a hmac-sha256"),
            ("HMAC-MD5.SIG-ALG.REG.INT.", "tsig-keygen -a hmac-sha256"),
            ("gss-tsig", "tsig-keygen -a hmac-sha256"),
            ("hmac-sha265", "did you mean `hmac-sha256`?"),
            ("rot13", "there is hmac-sha1, "),
        ] {
            let error = text.parse::<Algorithm>().unwrap_err();
            assert!(error.hint().contains(part), "{text}: {}", error.hint());
        }
    }

    proptest! {
        #[test]
        fn nothing_that_comes_in_panics(octets in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = key(Algorithm::Sha256).verify(&octets, &[1; 32], at(0));
        }

        #[test]
        fn a_flipped_bit_is_never_believed(bit in 0_usize..8 * 60) {
            let (algorithm, mac, answer) = VECTORS[2];
            let mut octets = hex(answer);
            octets[bit / 8] ^= 1 << (bit % 8);
            let verified = key(algorithm).verify(&octets, &hex(mac), at(0));
            // The identifier is put back from the signature, and letters of the key's name have no case.
            let harmless = bit / 8 < 2 || (octets[bit / 8] ^ hex(answer)[bit / 8] == 0x20 && verified.is_ok());
            prop_assert!(verified.is_err() || harmless, "{bit}: {verified:?}");
        }
    }

    fn key(algorithm: Algorithm) -> Key {
        let secret = STANDARD.encode((0..32).collect::<Vec<u8>>());
        Key::new("Acme-Key.", algorithm, &secret.into()).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_700_000_000 + seconds)
    }

    fn hex(text: &str) -> Vec<u8> {
        text.as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect()
    }
}
