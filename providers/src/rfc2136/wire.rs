//! The TSIG record on the wire (RFC 8945 section 4.2).
//!
//! It is the last record of a message; it is added to and taken from the octets here, and nobody else sees it.

use hickory_proto::rr::Name;
use hickory_proto::serialize::binary::BinDecodable;
use hickory_proto::serialize::binary::BinDecoder;
use hickory_proto::serialize::binary::DecodeError;

/// Octets that are no DNS message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Malformed;

impl From<DecodeError> for Malformed {
    fn from(_: DecodeError) -> Self {
        Self
    }
}

/// The TSIG record, names in canonical form.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Signature {
    pub(super) algorithm: Vec<u8>,
    pub(super) error: u16,
    pub(super) fudge: u16,
    pub(super) id: u16,
    pub(super) mac: Vec<u8>,
    pub(super) name: Vec<u8>,
    pub(super) other: Vec<u8>,
    pub(super) time: u64,
}

impl Signature {
    /// The part of the digest after the message (RFC 8945 section 4.3.3).
    pub(super) fn variables(&self) -> Vec<u8> {
        let mut out = self.name.clone();
        out.extend(CLASS_ANY.to_be_bytes());
        out.extend(0_u32.to_be_bytes());
        out.extend(&self.algorithm);
        out.extend(self.time_and_fudge());
        out.extend(self.error_and_other());
        out
    }

    /// The record as it ends the message (RFC 8945 section 4.2).
    pub(super) fn record(&self) -> Vec<u8> {
        let mut rdata = self.algorithm.clone();
        rdata.extend(self.time_and_fudge());
        rdata.extend(length(&self.mac));
        rdata.extend(&self.mac);
        rdata.extend(self.id.to_be_bytes());
        rdata.extend(self.error_and_other());

        let mut out = self.name.clone();
        out.extend(TYPE_TSIG.to_be_bytes());
        out.extend(CLASS_ANY.to_be_bytes());
        out.extend(0_u32.to_be_bytes());
        out.extend(length(&rdata));
        out.extend(rdata);
        out
    }

    fn time_and_fudge(&self) -> impl Iterator<Item = u8> {
        self.time
            .to_be_bytes()
            .into_iter()
            .skip(2)
            .chain(self.fudge.to_be_bytes())
    }

    fn error_and_other(&self) -> Vec<u8> {
        let mut out = self.error.to_be_bytes().to_vec();
        out.extend(length(&self.other));
        out.extend(&self.other);
        out
    }

    fn read(name: Vec<u8>, decoder: &mut BinDecoder<'_>) -> Result<Self, DecodeError> {
        let algorithm = wire_name(&Name::read(decoder)?.to_ascii());
        let high = decoder.read_u16()?.unverified(/* any value */);
        let low = decoder.read_u32()?.unverified(/* any value */);
        let fudge = decoder.read_u16()?.unverified(/* any value */);
        let mac = read_block(decoder)?;
        let id = decoder.read_u16()?.unverified(/* any value */);
        let error = decoder.read_u16()?.unverified(/* any value */);
        let other = read_block(decoder)?;
        Ok(Self {
            algorithm,
            error,
            fudge,
            id,
            mac,
            name,
            other,
            time: (u64::from(high) << 32) | u64::from(low),
        })
    }
}

/// Takes the signature off a message: what is left, with the count of additional records put right.
pub(super) fn split(message: &[u8]) -> Result<(Vec<u8>, Option<Signature>), Malformed> {
    let mut decoder = BinDecoder::new(message);
    let mut counts = [0_u16; 6];
    for count in &mut counts {
        *count = decoder.read_u16()?.unverified(/* only bounds loops that end with the message */);
    }
    let [_, _, questions, answers, authorities, additionals] = counts;

    for _ in 0..questions {
        Name::read(&mut decoder)?;
        decoder.read_u32()?;
    }
    let records = u32::from(answers) + u32::from(authorities) + u32::from(additionals);
    for left in (0..records).rev() {
        let start = decoder.index();
        let name = Name::read(&mut decoder)?;
        let kind = decoder.read_u16()?.unverified(/* compared only */);
        let class = decoder.read_u16()?.unverified(/* compared only */);
        let ttl = decoder.read_u32()?.unverified(/* compared only */);
        let length = decoder.read_u16()?.unverified(/* read_slice checks it */);
        if kind != TYPE_TSIG {
            decoder.read_slice(usize::from(length))?;
            continue;
        }
        // Anywhere else it makes the message a FORMERR (RFC 8945 section 5.1).
        if left > 0 || additionals == 0 || class != CLASS_ANY || ttl != 0 {
            return Err(Malformed);
        }
        let data = decoder.index();
        let signature = Signature::read(wire_name(&name.to_ascii()), &mut decoder)?;
        if decoder.index() - data != usize::from(length) || !decoder.is_empty() {
            return Err(Malformed);
        }
        let mut bare = message.get(..start).ok_or(Malformed)?.to_vec();
        write_u16(&mut bare, ARCOUNT, additionals - 1);
        return Ok((bare, Some(signature)));
    }
    Ok((message.to_vec(), None))
}

/// A name without compression in lower case (RFC 8945 section 4.3.3).
pub(super) fn wire_name(name: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len() + 2);
    for label in name.split('.').filter(|l| !l.is_empty()) {
        out.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
        out.extend(label.bytes().map(|b| b.to_ascii_lowercase()));
    }
    out.push(0);
    out
}

fn read_block(decoder: &mut BinDecoder<'_>) -> Result<Vec<u8>, DecodeError> {
    let length = decoder.read_u16()?.unverified(/* read_vec checks it */);
    Ok(decoder
        .read_vec(usize::from(length))?
        .unverified(/* any octets */))
}

pub(super) fn length(block: &[u8]) -> [u8; 2] {
    u16::try_from(block.len()).unwrap_or(u16::MAX).to_be_bytes()
}

pub(super) fn read_u16(message: &[u8], at: usize) -> Result<u16, Malformed> {
    match message.get(at..at + 2) {
        Some(&[a, b]) => Ok(u16::from_be_bytes([a, b])),
        _ => Err(Malformed),
    }
}

pub(super) fn write_u16(message: &mut [u8], at: usize, value: u16) {
    if let Some(place) = message.get_mut(at..at + 2) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

/// Where the count of additional records is in the header.
pub(super) const ARCOUNT: usize = 10;
const CLASS_ANY: u16 = 255;
const TYPE_TSIG: u16 = 250;
