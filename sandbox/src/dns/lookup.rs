//! Answers to questions: RFC 1034 section 4.3.2 with wildcards (RFC 4592), DNAME (RFC 6672) and negative answers
//! (RFC 2308), from all zones of a server.
//!
//! Aliases are followed as long as their targets lie in zones held here. Nothing here knows
//! sockets, sizes or signatures.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::CNAME;
use hickory_proto::rr::{Name, RData, Record, RecordType};

use super::record::{DNAME, dname_target};
use super::zone::{Node, RrSet, ZoneData, Zones};

/// An alias chain longer than this is cut off where it stands.
const MAX_ALIASES: usize = 16;

/// The sections of an answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) rcode: ResponseCode,
    pub(super) authoritative: bool,
    pub(super) answers: Vec<Record>,
    pub(super) authorities: Vec<Record>,
    pub(super) additionals: Vec<Record>,
}

/// Answers one question of class IN.
pub(super) fn answer(zones: &Zones, question: &Name, qtype: RecordType) -> Answer {
    let mut answer = Answer {
        rcode: ResponseCode::NoError,
        authoritative: true,
        answers: Vec::new(),
        authorities: Vec::new(),
        additionals: Vec::new(),
    };
    let mut name = question.clone();
    for hop in 0..=MAX_ALIASES {
        let Some(zone) = holder(zones, &name, qtype) else {
            if hop == 0 {
                answer.rcode = ResponseCode::Refused;
                answer.authoritative = false;
            }
            break;
        };
        match find(zone, &name, qtype) {
            Found::Alias(records, target) => {
                let seen = answer.answers.iter().any(|held| held.name == target);
                answer.answers.extend(records);
                if seen || target == name {
                    break;
                }
                name = target;
                continue;
            }
            Found::Delegation(cut) => {
                // AA describes the first name of the answer section (RFC 1035 section 4.1.1).
                answer.authoritative = hop > 0;
                if let Some(set) = zone.rrset(&cut, RecordType::NS) {
                    answer.authorities = records(&cut, set);
                }
                answer.additionals = addresses(zones, zone, &answer.authorities);
            }
            Found::NoData => answer.authorities = negative(zone),
            Found::NxDomain => {
                answer.rcode = ResponseCode::NXDomain;
                answer.authorities = negative(zone);
            }
            Found::Records(records) => {
                answer.additionals = addresses(zones, zone, &records);
                answer.answers.extend(records);
            }
            Found::TooLong(dname) => {
                answer.rcode = ResponseCode::YXDomain;
                answer.answers.push(dname);
            }
        }
        break;
    }
    answer
}

/// The records of a set, under the name that was asked for.
pub(super) fn records(owner: &Name, set: &RrSet) -> Vec<Record> {
    let record = |data: &RData| Record::from_rdata(owner.clone(), set.ttl, data.clone());
    set.data.iter().map(record).collect()
}

/// What one zone says about one name.
enum Found {
    /// The `CNAME` (with the `DNAME` it was made from) and where it leads.
    Alias(Vec<Record>, Name),
    /// Another zone begins here.
    Delegation(Name),
    NoData,
    NxDomain,
    Records(Vec<Record>),
    /// A `DNAME` whose substitution is no name any more (RFC 6672 section 2.2).
    TooLong(Record),
}

/// The zone to ask: the deepest, except that a `DS` question at an apex belongs to the parent
/// (RFC 4035 section 3.1.4.1).
fn holder<'a>(zones: &'a Zones, name: &Name, qtype: RecordType) -> Option<&'a ZoneData> {
    let zone = zones.containing(name)?;
    if qtype == RecordType::DS && zone.origin == *name && !name.is_root() {
        return zones.containing(&name.base_name()).or(Some(zone));
    }
    Some(zone)
}

fn find(zone: &ZoneData, name: &Name, qtype: RecordType) -> Found {
    let total = name.iter().count();
    let apex = zone.origin.iter().count();
    let mut encloser = zone.origin.clone();
    for labels in apex..=total {
        let ancestor = name.trim_to(labels);
        if let Some(node) = zone.node(&ancestor) {
            let at_name = labels == total;
            if labels > apex
                && node.contains_key(&RecordType::NS)
                && !(at_name && qtype == RecordType::DS)
            {
                return Found::Delegation(ancestor);
            }
            if let Some(set) = node.get(&DNAME)
                && !at_name
            {
                return substitute(name, &ancestor, set);
            }
            if at_name {
                return pick(node, name, qtype);
            }
        } else if !zone.exists(&ancestor) {
            return match wildcard(zone, &encloser) {
                Some(Some(node)) => pick(node, name, qtype),
                Some(None) => Found::NoData,
                None => Found::NxDomain,
            };
        }
        encloser = ancestor;
    }
    // An empty non-terminal.
    Found::NoData
}

/// The source of synthesis below `encloser`, if there is one, and its records, if it has any.
fn wildcard<'a>(zone: &'a ZoneData, encloser: &Name) -> Option<Option<&'a Node>> {
    let labels = std::iter::once(b"*".as_slice()).chain(encloser);
    let name = Name::from_labels(labels).ok()?;
    zone.exists(&name).then(|| zone.node(&name))
}

fn pick(node: &Node, name: &Name, qtype: RecordType) -> Found {
    if qtype == RecordType::ANY {
        return Found::Records(node.values().flat_map(|set| records(name, set)).collect());
    }
    if let Some(set) = node.get(&qtype) {
        return Found::Records(records(name, set));
    }
    if let Some(set) = node.get(&RecordType::CNAME)
        && let Some(RData::CNAME(target)) = set.data.first()
    {
        return Found::Alias(records(name, set), target.0.clone());
    }
    Found::NoData
}

fn substitute(name: &Name, owner: &Name, set: &RrSet) -> Found {
    let dname = records(owner, set);
    let target = set.data.first().and_then(dname_target);
    let (Some(target), Some(first)) = (target, dname.first().cloned()) else {
        return Found::NoData;
    };
    let kept = name.iter().count() - owner.iter().count();
    let Ok(alias) = Name::from_labels(name.iter().take(kept).chain(&target)) else {
        return Found::TooLong(first);
    };
    let data = RData::CNAME(CNAME(alias.clone()));
    let cname = Record::from_rdata(name.clone(), set.ttl, data);
    Found::Alias(vec![first, cname], alias)
}

fn negative(zone: &ZoneData) -> Vec<Record> {
    let soa = zone.soa().map(|(ttl, soa)| {
        let data = RData::SOA(soa.clone());
        Record::from_rdata(zone.origin.clone(), ttl.min(soa.minimum), data)
    });
    soa.into_iter().collect()
}

/// Addresses of the hosts that `NS` and `MX` records name: glue below a cut, or what a zone holds.
fn addresses(zones: &Zones, zone: &ZoneData, records: &[Record]) -> Vec<Record> {
    let mut found: Vec<Record> = Vec::new();
    for record in records {
        let host = match &record.data {
            RData::NS(target) => &target.0,
            RData::MX(mx) => &mx.exchange,
            _ => continue,
        };
        if found.iter().any(|held| held.name == *host) {
            continue;
        }
        let deepest = zones
            .containing(host)
            .filter(|deepest| deepest.origin != zone.origin);
        for rtype in [RecordType::A, RecordType::AAAA] {
            let set = deepest.and_then(|zone| zone.rrset(host, rtype));
            if let Some(set) = set.or_else(|| zone.rrset(host, rtype)) {
                found.extend(self::records(host, set));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RecordType as T;

    use super::super::record;
    use super::super::zone::Zone;
    use super::*;

    fn zones() -> Zones {
        let mut zones = Zones::default();
        let zone = Zone::new("example.test")
            .ns("ns1.example.test")
            .a("ns1.example.test", [192, 0, 2, 1].into())
            .txt("a.b.example.test", "deep")
            .txt("*.w.example.test", "wild")
            .txt("here.w.example.test", "real")
            .txt("x.ent.w.example.test", "below")
            .cname("*.alias.example.test", "a.b.example.test")
            .cname("chain.example.test", "x.alias.example.test")
            .cname("out.example.test", "www.example.org")
            .cname("gone.example.test", "nothing.example.test")
            .cname("loop.example.test", "pool.example.test")
            .cname("pool.example.test", "loop.example.test")
            .cname("cut.example.test", "www.child.example.test")
            .dname("old.example.test", "b.example.test")
            .dname(
                "long.example.test",
                format!("{0}.{0}.{0}.test", "x".repeat(62)),
            )
            .delegate("child.example.test", "ns.child.example.test")
            .a("ns.child.example.test", [192, 0, 2, 2].into())
            .delegate("held.example.test", "ns1.example.test");
        zones.insert(zone.build().unwrap());
        let zone = Zone::new("held.example.test").txt("held.example.test", "child");
        zones.insert(zone.build().unwrap());
        zones
    }

    /// `rcode aa answers/authorities/additionals` and the data of the answers.
    fn ask(name: &str, qtype: RecordType) -> String {
        let answer = answer(&zones(), &record::name(name).unwrap(), qtype);
        let types = |records: &[Record]| {
            let types = records.iter().map(|record| match record.record_type() {
                DNAME => "DNAME".to_owned(),
                rtype => rtype.to_string(),
            });
            types.collect::<Vec<_>>().join(",")
        };
        let rcode = format!("{:?}", answer.rcode);
        let aa = if answer.authoritative { " aa" } else { "" };
        format!(
            "{rcode}{aa} [{}] [{}] [{}]",
            types(&answer.answers),
            types(&answer.authorities),
            types(&answer.additionals)
        )
    }

    #[test]
    fn questions_are_answered_as_the_rfcs_say() {
        for (name, qtype, expected) in [
            ("example.test", T::NS, "NoError aa [NS] [] [A]"),
            ("EXAMPLE.test", T::SOA, "NoError aa [SOA] [] []"),
            ("a.b.example.test", T::TXT, "NoError aa [TXT] [] []"),
            ("a.b.example.test", T::A, "NoError aa [] [SOA] []"),
            ("b.example.test", T::TXT, "NoError aa [] [SOA] []"),
            ("no.example.test", T::TXT, "NXDomain aa [] [SOA] []"),
            ("x.a.b.example.test", T::TXT, "NXDomain aa [] [SOA] []"),
            ("example.org", T::TXT, "Refused [] [] []"),
            // Wildcards: any depth, not beside what exists, not below an empty non-terminal.
            ("1.w.example.test", T::TXT, "NoError aa [TXT] [] []"),
            ("1.2.w.example.test", T::TXT, "NoError aa [TXT] [] []"),
            ("1.w.example.test", T::A, "NoError aa [] [SOA] []"),
            ("here.w.example.test", T::A, "NoError aa [] [SOA] []"),
            ("1.here.w.example.test", T::TXT, "NXDomain aa [] [SOA] []"),
            ("ent.w.example.test", T::TXT, "NoError aa [] [SOA] []"),
            ("1.ent.w.example.test", T::TXT, "NXDomain aa [] [SOA] []"),
            ("w.example.test", T::TXT, "NoError aa [] [SOA] []"),
            // Aliases.
            (
                "1.alias.example.test",
                T::TXT,
                "NoError aa [CNAME,TXT] [] []",
            ),
            (
                "chain.example.test",
                T::TXT,
                "NoError aa [CNAME,CNAME,TXT] [] []",
            ),
            ("chain.example.test", T::CNAME, "NoError aa [CNAME] [] []"),
            ("out.example.test", T::TXT, "NoError aa [CNAME] [] []"),
            ("gone.example.test", T::TXT, "NXDomain aa [CNAME] [SOA] []"),
            (
                "loop.example.test",
                T::TXT,
                "NoError aa [CNAME,CNAME] [] []",
            ),
            ("cut.example.test", T::TXT, "NoError aa [CNAME] [NS] [A]"),
            // DNAME.
            (
                "a.old.example.test",
                T::TXT,
                "NoError aa [DNAME,CNAME,TXT] [] []",
            ),
            (
                "z.old.example.test",
                T::TXT,
                "NXDomain aa [DNAME,CNAME] [SOA] []",
            ),
            ("old.example.test", T::TXT, "NoError aa [] [SOA] []"),
            // Delegations.
            ("child.example.test", T::NS, "NoError [] [NS] [A]"),
            ("x.child.example.test", T::TXT, "NoError [] [NS] [A]"),
            ("ns.child.example.test", T::A, "NoError [] [NS] [A]"),
            ("child.example.test", T::DS, "NoError aa [] [SOA] []"),
            ("held.example.test", T::TXT, "NoError aa [TXT] [] []"),
            ("held.example.test", T::DS, "NoError aa [] [SOA] []"),
            ("example.test", T::ANY, "NoError aa [NS,SOA] [] [A]"),
        ] {
            let shown = ask(name, qtype);
            assert_eq!(shown, expected, "{name} {qtype}");
        }
        let long = format!("{}.long.example.test", "y".repeat(63));
        assert!(ask(&long, T::A).starts_with("YXDomain"));
    }
}
