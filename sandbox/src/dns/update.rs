//! Dynamic update, RFC 2136 section 3, as far as one message and one zone go.
//!
//! [`check`] does everything that can fail and changes nothing; [`apply`] cannot fail. So an update is applied
//! wholly or not at all.

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordData, RecordType};

use super::tsig::Key;
use super::zone::{Added, RrSet, ZoneData};

/// Checks prerequisites, permission and form of the changes.
///
/// `key` is the one that signed the message; none stands for an unsigned message that the server lets pass.
pub(super) fn check(
    zone: &ZoneData,
    message: &Message,
    key: Option<&Key>,
) -> Result<(), ResponseCode> {
    prerequisites(zone, &message.answers)?;
    for record in &message.authorities {
        // Names outside are NOTZONE below, whoever asks.
        if zone.origin.zone_of(&record.name) && key.is_some_and(|key| !permits(key, zone, record)) {
            return Err(ResponseCode::Refused);
        }
    }
    message
        .authorities
        .iter()
        .try_for_each(|record| prescan(zone, record))
}

/// Applies changes that [`check`] has passed, and says how many records came, went or changed.
pub(super) fn apply(zone: &mut ZoneData, changes: &[Record]) -> usize {
    let serial = |zone: &ZoneData| zone.soa().map(|(_, soa)| soa.serial);
    let before = serial(zone);
    let changed = changes.iter().map(|record| change(zone, record)).sum();
    // Section 3.6: a serial number that the update sets is left alone.
    if changed > 0 && serial(zone) == before {
        zone.bump_serial();
    }
    changed
}

/// Section 3.2.
fn prerequisites(zone: &ZoneData, records: &[Record]) -> Result<(), ResponseCode> {
    // RRsets that must exist with exactly these values.
    let mut wanted: Vec<(&Name, RecordType, Vec<&RData>)> = Vec::new();
    for record in records {
        let (name, rtype) = (&record.name, record.record_type());
        if record.ttl != 0 {
            return Err(ResponseCode::FormErr);
        }
        if !zone.origin.zone_of(name) {
            return Err(ResponseCode::NotZone);
        }
        let empty = record.data.is_update();
        let used = zone.node(name).is_some();
        let exists = zone.rrset(name, rtype).is_some();
        match record.dns_class {
            DNSClass::ANY | DNSClass::NONE if !empty => return Err(ResponseCode::FormErr),
            DNSClass::ANY if rtype == RecordType::ANY && !used => {
                return Err(ResponseCode::NXDomain);
            }
            DNSClass::ANY if rtype != RecordType::ANY && !exists => {
                return Err(ResponseCode::NXRRSet);
            }
            DNSClass::NONE if rtype == RecordType::ANY && used => {
                return Err(ResponseCode::YXDomain);
            }
            DNSClass::NONE if rtype != RecordType::ANY && exists => {
                return Err(ResponseCode::YXRRSet);
            }
            DNSClass::ANY | DNSClass::NONE => {}
            DNSClass::IN if !empty => {
                let known = wanted
                    .iter_mut()
                    .find(|(owner, known, _)| *owner == name && *known == rtype);
                match known {
                    Some((_, _, values)) => values.push(&record.data),
                    None => wanted.push((name, rtype, vec![&record.data])),
                }
            }
            _ => return Err(ResponseCode::FormErr),
        }
    }
    let holds = |(name, rtype, values): &(&Name, RecordType, Vec<&RData>)| {
        let held = zone.rrset(name, *rtype);
        let held: &[RData] = held.map_or(&[], |set: &RrSet| &set.data);
        held.iter().all(|value| values.contains(&value))
            && values.iter().all(|value| held.contains(value))
    };
    if wanted.iter().all(holds) {
        Ok(())
    } else {
        Err(ResponseCode::NXRRSet)
    }
}

/// Section 3.3. Deleting a whole name takes permission for every type there is at it.
fn permits(key: &Key, zone: &ZoneData, record: &Record) -> bool {
    let permits = |rtype| key.permits(&zone.origin, &record.name, rtype);
    match record.record_type() {
        RecordType::ANY => match zone.node(&record.name) {
            Some(node) => node.keys().all(|rtype| permits(*rtype)),
            None => permits(RecordType::TXT),
        },
        rtype => permits(rtype),
    }
}

/// Section 3.4.1.
fn prescan(zone: &ZoneData, record: &Record) -> Result<(), ResponseCode> {
    if !zone.origin.zone_of(&record.name) {
        return Err(ResponseCode::NotZone);
    }
    let rtype = record.record_type();
    // 249 to 254: TKEY, TSIG, IXFR, AXFR, MAILB, MAILA; 41: OPT.
    let meta = matches!(u16::from(rtype), 0 | 41 | 249..=254);
    let empty = record.data.is_update();
    let well = match record.dns_class {
        DNSClass::IN => !empty && rtype != RecordType::ANY,
        DNSClass::ANY => empty && record.ttl == 0,
        DNSClass::NONE => !empty && record.ttl == 0 && rtype != RecordType::ANY,
        _ => false,
    };
    if well && !meta {
        Ok(())
    } else {
        Err(ResponseCode::FormErr)
    }
}

/// Section 3.4.2.
fn change(zone: &mut ZoneData, record: &Record) -> usize {
    let name = &record.name;
    let apex = *name == zone.origin;
    let rtype = record.record_type();
    let kept = |rtype| apex && matches!(rtype, RecordType::SOA | RecordType::NS);
    match record.dns_class {
        DNSClass::ANY if rtype == RecordType::ANY => {
            let held = zone.node(name).into_iter().flat_map(|node| node.keys());
            let held: Vec<_> = held.copied().filter(|rtype| !kept(*rtype)).collect();
            let removed = held.into_iter().map(|rtype| zone.remove_rrset(name, rtype));
            removed.sum()
        }
        DNSClass::ANY if kept(rtype) => 0,
        DNSClass::ANY => zone.remove_rrset(name, rtype),
        DNSClass::NONE => {
            let last = zone
                .rrset(name, rtype)
                .is_some_and(|set| set.data.len() == 1);
            let refused = rtype == RecordType::SOA || (kept(rtype) && last);
            usize::from(!refused && zone.remove(name, &record.data))
        }
        _ => {
            let added = zone.add(name, record.ttl, record.data.clone());
            usize::from(added == Added::Changed)
        }
    }
}
