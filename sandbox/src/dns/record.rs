//! Records as a test writes them: an owner, a TTL and data, all plain values.
//!
//! Names are absolute, with or without the final dot, and are checked when a record enters a zone,
//! not when it is written down, so that tables of records stay free of `?`. [`Record::parse`] reads
//! one line of a zone file.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::rr::rdata::caa::CAA;
use hickory_proto::rr::rdata::{A, AAAA, CNAME, MX, NS, NULL, SOA, TXT};
use hickory_proto::rr::{Name, RData, RecordType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable};

use super::ZoneError;

/// `DNAME` (RFC 6672), which hickory-proto carries as an unknown type.
pub(super) const DNAME: RecordType = RecordType::Unknown(39);

/// One resource record.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Record {
    /// Owner name, absolute; the final dot is optional.
    pub owner: String,
    /// Time to live, in seconds.
    pub ttl: u32,
    /// Type and data.
    pub data: Data,
}

/// Type and data of a [`Record`].
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum Data {
    /// IPv4 address.
    A(Ipv4Addr),
    /// IPv6 address.
    Aaaa(Ipv6Addr),
    /// Certification authority authorization (RFC 8659).
    Caa {
        /// 128 is the critical bit.
        flags: u8,
        /// `issue`, `issuewild`, `iodef`, …
        tag: String,
        /// The value without quotes.
        value: String,
    },
    /// Alias.
    Cname(String),
    /// Alias of everything below the owner (RFC 6672).
    Dname(String),
    /// Mail exchange.
    Mx {
        /// Lower is preferred.
        preference: u16,
        /// Host name.
        exchange: String,
    },
    /// Name server; below the apex, a delegation.
    Ns(String),
    /// Any other type, in wire form.
    Other {
        /// Type number.
        rtype: u16,
        /// RDATA octets.
        rdata: Vec<u8>,
    },
    /// Start of authority.
    Soa {
        /// Primary name server.
        mname: String,
        /// Mailbox of the person responsible.
        rname: String,
        /// Serial number.
        serial: u32,
        /// Seconds between refreshes.
        refresh: i32,
        /// Seconds between failed refreshes.
        retry: i32,
        /// Seconds after which a secondary gives up.
        expire: i32,
        /// TTL of negative answers, in seconds (RFC 2308).
        minimum: u32,
    },
    /// Text; split into strings of 255 octets on the wire and joined again on the way back.
    Txt(String),
}

impl Record {
    /// A record of any type.
    pub fn new(owner: impl Into<String>, ttl: u32, data: Data) -> Self {
        Self {
            owner: owner.into(),
            ttl,
            data,
        }
    }

    /// An `A` record.
    pub fn a(owner: impl Into<String>, ttl: u32, address: Ipv4Addr) -> Self {
        Self::new(owner, ttl, Data::A(address))
    }

    /// An `AAAA` record.
    pub fn aaaa(owner: impl Into<String>, ttl: u32, address: Ipv6Addr) -> Self {
        Self::new(owner, ttl, Data::Aaaa(address))
    }

    /// A `CAA` record without flags.
    pub fn caa(
        owner: impl Into<String>,
        ttl: u32,
        tag: impl Into<String>,
        value: impl Into<String>,
    ) -> Self {
        let (flags, tag, value) = (0, tag.into(), value.into());
        Self::new(owner, ttl, Data::Caa { flags, tag, value })
    }

    /// A `CNAME` record.
    pub fn cname(owner: impl Into<String>, ttl: u32, target: impl Into<String>) -> Self {
        Self::new(owner, ttl, Data::Cname(target.into()))
    }

    /// A `DNAME` record.
    pub fn dname(owner: impl Into<String>, ttl: u32, target: impl Into<String>) -> Self {
        Self::new(owner, ttl, Data::Dname(target.into()))
    }

    /// An `NS` record.
    pub fn ns(owner: impl Into<String>, ttl: u32, target: impl Into<String>) -> Self {
        Self::new(owner, ttl, Data::Ns(target.into()))
    }

    /// A `TXT` record.
    pub fn txt(owner: impl Into<String>, ttl: u32, value: impl Into<String>) -> Self {
        Self::new(owner, ttl, Data::Txt(value.into()))
    }

    /// Reads one line of a zone file: `OWNER [TTL] [IN] TYPE DATA…`, with `@` for the origin, names
    /// without a final dot relative to it, and quotes around text that has blanks.
    ///
    /// Known types: A, AAAA, CAA, CNAME, DNAME, MX, NS, TXT. TTL is 60 where none is given.
    pub fn parse(origin: &str, line: &str) -> Result<Self, ZoneError> {
        let bad = || ZoneError::Syntax(line.trim().to_owned());
        let mut words = words(line).into_iter().peekable();
        let owner = absolute(&words.next().ok_or_else(bad)?, origin);
        let mut ttl = 60;
        if let Some(seconds) = words.peek().and_then(|word| word.parse().ok()) {
            ttl = seconds;
            words.next();
        }
        words.next_if(|word| word.eq_ignore_ascii_case("in"));
        let kind = words.next().ok_or_else(bad)?.to_ascii_uppercase();
        let mut next = || words.next().ok_or_else(bad);
        let data = match kind.as_str() {
            "A" => Data::A(next()?.parse().map_err(|_| bad())?),
            "AAAA" => Data::Aaaa(next()?.parse().map_err(|_| bad())?),
            "CAA" => Data::Caa {
                flags: next()?.parse().map_err(|_| bad())?,
                tag: next()?,
                value: next()?,
            },
            "CNAME" => Data::Cname(absolute(&next()?, origin)),
            "DNAME" => Data::Dname(absolute(&next()?, origin)),
            "MX" => Data::Mx {
                preference: next()?.parse().map_err(|_| bad())?,
                exchange: absolute(&next()?, origin),
            },
            "NS" => Data::Ns(absolute(&next()?, origin)),
            "TXT" => {
                let first = next()?;
                return Ok(Self::txt(
                    owner,
                    ttl,
                    words.fold(first, |text, word| text + &word),
                ));
            }
            _ => return Err(bad()),
        };
        match words.next() {
            None => Ok(Self::new(owner, ttl, data)),
            Some(_) => Err(bad()),
        }
    }

    pub(super) fn encode(&self) -> Result<(Name, RData), ZoneError> {
        Ok((name(&self.owner)?, self.data.encode()?))
    }

    pub(super) fn decode(owner: &Name, ttl: u32, data: &RData) -> Self {
        Self::new(text(owner), ttl, Data::decode(data))
    }
}

impl Data {
    fn encode(&self) -> Result<RData, ZoneError> {
        Ok(match self {
            Self::A(address) => RData::A(A(*address)),
            Self::Aaaa(address) => RData::AAAA(AAAA(*address)),
            Self::Caa { flags, tag, value } => {
                let mut caa = CAA::new_issue(flags & 128 != 0, None, Vec::new());
                caa.reserved_flags = flags & 127;
                caa.tag = tag.clone();
                caa.value = value.clone().into_bytes();
                RData::CAA(caa)
            }
            Self::Cname(target) => RData::CNAME(CNAME(name(target)?)),
            Self::Dname(target) => dname(&name(target)?),
            Self::Mx {
                preference,
                exchange,
            } => RData::MX(MX::new(*preference, name(exchange)?)),
            Self::Ns(target) => RData::NS(NS(name(target)?)),
            Self::Other { rtype, rdata } => RData::Unknown {
                code: RecordType::from(*rtype),
                rdata: NULL::with(rdata.clone()),
            },
            Self::Soa {
                mname,
                rname,
                serial,
                refresh,
                retry,
                expire,
                minimum,
            } => RData::SOA(SOA::new(
                name(mname)?,
                name(rname)?,
                *serial,
                *refresh,
                *retry,
                *expire,
                *minimum,
            )),
            Self::Txt(value) if value.is_empty() => RData::TXT(TXT::from_bytes(vec![b""])),
            Self::Txt(value) => RData::TXT(TXT::from_bytes(value.as_bytes().chunks(255).collect())),
        })
    }

    fn decode(data: &RData) -> Self {
        match data {
            RData::A(address) => Self::A(address.0),
            RData::AAAA(address) => Self::Aaaa(address.0),
            RData::CAA(caa) => Self::Caa {
                flags: caa.flags(),
                tag: caa.tag.clone(),
                value: String::from_utf8_lossy(&caa.value).into_owned(),
            },
            RData::CNAME(target) => Self::Cname(text(&target.0)),
            RData::MX(mx) => Self::Mx {
                preference: mx.preference,
                exchange: text(&mx.exchange),
            },
            RData::NS(target) => Self::Ns(text(&target.0)),
            RData::SOA(soa) => Self::Soa {
                mname: text(&soa.mname),
                rname: text(&soa.rname),
                serial: soa.serial,
                refresh: soa.refresh,
                retry: soa.retry,
                expire: soa.expire,
                minimum: soa.minimum,
            },
            RData::TXT(txt) => {
                let octets = txt.txt_data.concat();
                Self::Txt(String::from_utf8_lossy(&octets).into_owned())
            }
            other => match dname_target(other) {
                Some(target) => Self::Dname(text(&target)),
                None => Self::Other {
                    rtype: other.record_type().into(),
                    rdata: other.to_bytes().unwrap_or_default(),
                },
            },
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}. {} ", self.owner, self.ttl)?;
        match &self.data {
            Data::A(address) => write!(f, "A {address}"),
            Data::Aaaa(address) => write!(f, "AAAA {address}"),
            Data::Caa { flags, tag, value } => write!(f, "CAA {flags} {tag} \"{value}\""),
            Data::Cname(target) => write!(f, "CNAME {target}."),
            Data::Dname(target) => write!(f, "DNAME {target}."),
            Data::Mx {
                preference,
                exchange,
            } => write!(f, "MX {preference} {exchange}."),
            Data::Ns(target) => write!(f, "NS {target}."),
            Data::Other { rtype, rdata } => write!(f, "TYPE{rtype} ({} octets)", rdata.len()),
            Data::Soa {
                mname,
                rname,
                serial,
                ..
            } => write!(f, "SOA {mname}. {rname}. {serial}"),
            Data::Txt(value) => write!(f, "TXT \"{value}\""),
        }
    }
}

/// Parses an absolute name, whether or not it ends in a dot.
pub(super) fn name(text: &str) -> Result<Name, ZoneError> {
    let mut name = Name::from_ascii(text).map_err(|error| ZoneError::Name {
        name: text.to_owned(),
        reason: error.to_string(),
    })?;
    name.set_fqdn(true);
    Ok(name)
}

/// A name as the public types show it: lower case, without the final dot.
pub(super) fn text(name: &Name) -> String {
    let ascii = name.to_lowercase().to_ascii();
    ascii.strip_suffix('.').unwrap_or(&ascii).to_owned()
}

/// `DNAME` data.
pub(super) fn dname(target: &Name) -> RData {
    let mut octets = Vec::new();
    for label in target {
        // A label is at most 63 octets, which `Name` has checked.
        octets.push(label.len() as u8);
        octets.extend_from_slice(label);
    }
    octets.push(0);
    RData::Unknown {
        code: DNAME,
        rdata: NULL::with(octets),
    }
}

/// The target, if this is `DNAME` data.
pub(super) fn dname_target(data: &RData) -> Option<Name> {
    let RData::Unknown { code, rdata } = data else {
        return None;
    };
    let octets = (*code == DNAME).then_some(&rdata.anything)?;
    Name::read(&mut BinDecoder::new(octets)).ok()
}

fn absolute(word: &str, origin: &str) -> String {
    let origin = origin.trim_end_matches('.');
    match word {
        "@" => origin.to_owned(),
        _ if word.ends_with('.') => word.trim_end_matches('.').to_owned(),
        _ => format!("{word}.{origin}"),
    }
}

fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ';' if !quoted => break,
            c if c.is_whitespace() && !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_parse() {
        let parse = |line| Record::parse("example.test", line);
        assert_eq!(
            parse("www A 192.0.2.1"),
            Ok(Record::a("www.example.test", 60, [192, 0, 2, 1].into()))
        );
        assert_eq!(
            parse(r#"@ 5 IN TXT "a b" "c" ; said"#),
            Ok(Record::txt("example.test", 5, "a bc"))
        );
        assert_eq!(
            parse("x CNAME y.example.net."),
            Ok(Record::cname("x.example.test", 60, "y.example.net"))
        );
        assert_eq!(
            parse(r#"@ CAA 0 issue "ca.test""#),
            Ok(Record::caa("example.test", 60, "issue", "ca.test"))
        );
        for bad in [
            "",
            "www",
            "www A",
            "www A x",
            "www A 192.0.2.1 2",
            "www WKS 1",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn records_survive_the_wire_form() {
        let records = [
            Record::txt("a.test", 1, "x".repeat(600)),
            Record::txt("a.test", 1, ""),
            Record::dname("a.test", 1, "b.test"),
            Record::caa("a.test", 1, "iodef", "mailto:a@b"),
            Record::ns("a.test", 1, "ns.a.test"),
        ];
        for record in records {
            let (owner, data) = record.encode().unwrap();
            let octets = data.to_bytes().unwrap();
            assert!(!octets.is_empty());
            assert_eq!(Record::decode(&owner, 1, &data), record);
        }
        assert!(
            Record::a(format!("{}.test", "x".repeat(64)), 1, [1, 1, 1, 1].into())
                .encode()
                .is_err()
        );
    }
}
