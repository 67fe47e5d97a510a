//! A change batch: read from XML, checked against the limits, applied as a whole or not at all.

use std::collections::BTreeMap;

use roxmltree::{Document, Node};

use super::answer::Refusal;
use super::sets::{RecordSet, SetKey, canonical};

/// What one element of a batch does.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verb {
    Create,
    Delete,
    Upsert,
}

impl Verb {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::Upsert => "UPSERT",
        }
    }
}

/// One element of a batch.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) set: RecordSet,
    pub(super) verb: Verb,
}

/// Reads a `ChangeResourceRecordSetsRequest`.
pub(super) fn parse(body: &str) -> Result<Vec<Change>, Refusal> {
    let invalid = |message: String| Refusal::sender(400, "InvalidInput", message);
    let document = Document::parse(body)
        .map_err(|e| Refusal::sender(400, "MalformedXML", format!("XML is not valid: {e}")))?;
    let root = document.root_element();
    if root.tag_name().name() != "ChangeResourceRecordSetsRequest"
        || root.tag_name().namespace() != Some(super::answer::NAMESPACE)
    {
        return Err(invalid("Invalid XML ; root element".to_owned()));
    }
    let changes = child(root, "ChangeBatch")
        .and_then(|batch| child(batch, "Changes"))
        .ok_or_else(|| invalid("Invalid XML ; no Changes".to_owned()))?;
    let changes: Vec<Change> = changes
        .children()
        .filter(|node| node.has_tag_name((super::answer::NAMESPACE, "Change")))
        .map(|node| change(node).ok_or_else(|| invalid("Invalid XML ; Change".to_owned())))
        .collect::<Result<_, _>>()?;
    match changes.is_empty() {
        true => Err(invalid(
            "Invalid XML ; The request must contain at least one change".to_owned(),
        )),
        false => Ok(changes),
    }
}

/// The sets of a zone as they are after all of the changes.
pub(super) fn applied(
    zone: &str,
    sets: &BTreeMap<SetKey, RecordSet>,
    changes: &[Change],
) -> Result<BTreeMap<SetKey, RecordSet>, Refusal> {
    limits(changes)?;
    let mut after = sets.clone();
    let mut problems = Vec::new();
    for (number, change) in changes.iter().enumerate() {
        let RecordSet { name, rtype, .. } = &change.set;
        let key = change.set.key();
        let named = match &change.set.set_identifier {
            None => format!("[name='{name}', type='{rtype}']"),
            Some(id) => format!("[name='{name}', type='{rtype}', set-identifier='{id}']"),
        };
        let again = changes[..number].iter().any(|other| {
            other.set.key() == key && (other.verb == Verb::Delete) == (change.verb == Verb::Delete)
        });
        if again {
            problems.push(format!(
                "The request contains an invalid set of changes for a resource record set '{rtype} {name}'"
            ));
            continue;
        }
        if *name != zone && !name.ends_with(&format!(".{zone}")) {
            problems.push(format!(
                "RRSet with DNS name {name} is not permitted in zone {zone}"
            ));
            continue;
        }
        if change.verb != Verb::Delete {
            if let Some(problem) = change.set.problem() {
                problems.push(problem);
                continue;
            }
            if let Some(conflict) = conflict(zone, &after, &change.set) {
                problems.push(conflict);
                continue;
            }
        }
        match (change.verb, after.get(&key)) {
            (Verb::Create, Some(_)) => problems.push(format!(
                "Tried to create resource record set {named} but it already exists"
            )),
            (Verb::Delete, None) => problems.push(format!(
                "Tried to delete resource record set {named} but it was not found"
            )),
            (Verb::Delete, Some(held)) if !held.matches(&change.set) => problems.push(format!(
                "Tried to delete resource record set {named} but the values provided do not match the current values"
            )),
            (Verb::Delete, Some(_)) if *name == zone && matches!(rtype.as_str(), "NS" | "SOA") => {
                problems.push(format!(
                    "A HostedZone must contain exactly one {rtype} record"
                ));
            }
            (Verb::Delete, Some(_)) => {
                after.remove(&key);
            }
            (Verb::Create | Verb::Upsert, _) => {
                after.insert(key, change.set.clone());
            }
        }
    }
    match problems.is_empty() {
        true => Ok(after),
        false => Err(Refusal::batch(&problems)),
    }
}

/// What cannot stand beside the other sets of its name.
fn conflict(zone: &str, sets: &BTreeMap<SetKey, RecordSet>, new: &RecordSet) -> Option<String> {
    let RecordSet { name, rtype, .. } = new;
    let mut others = sets.values().filter(|set| set.name == *name);
    others.find_map(|held| {
        let alias = (held.rtype == "CNAME") != (rtype == "CNAME");
        if alias {
            return Some(format!(
                "RRSet of type {rtype} with DNS name {name} is not permitted because a conflicting RRSet of type {} with the same DNS name already exists in zone {zone}",
                held.rtype
            ));
        }
        let routed = |set: &RecordSet| set.set_identifier.is_some();
        let mixed = held.rtype == *rtype
            && (routed(held) != routed(new) || held.multivalue != new.multivalue);
        mixed.then(|| {
            format!(
                "RRSet with DNS name {name}, type {rtype}, SetIdentifier {} cannot be created as other RRSets exist with the same name and type",
                new.set_identifier.as_deref().unwrap_or("null")
            )
        })
    })
}

/// "Quotas" in the developer guide; UPSERT counts twice.
fn limits(changes: &[Change]) -> Result<(), Refusal> {
    let times = |change: &Change| if change.verb == Verb::Upsert { 2 } else { 1 };
    let elements: usize = changes.iter().map(|c| c.set.values.len() * times(c)).sum();
    let characters: usize = changes
        .iter()
        .map(|c| {
            c.set
                .values
                .iter()
                .map(|v| v.chars().count())
                .sum::<usize>()
                * times(c)
        })
        .sum();
    if elements > 1000 {
        return Err(Refusal::batch(&[
            "Number of records limit of 1000 exceeded.".to_owned(),
        ]));
    }
    if characters > 32_000 {
        return Err(Refusal::batch(&[
            "Number of characters limit of 32000 exceeded.".to_owned(),
        ]));
    }
    Ok(())
}

fn change(node: Node<'_, '_>) -> Option<Change> {
    let verb = match text(node, "Action")?.as_str() {
        "CREATE" => Verb::Create,
        "DELETE" => Verb::Delete,
        "UPSERT" => Verb::Upsert,
        _ => return None,
    };
    let set = child(node, "ResourceRecordSet")?;
    let records = child(set, "ResourceRecords");
    let values = records
        .into_iter()
        .flat_map(|records| records.children())
        .filter(Node::is_element)
        .map(|record| text(record, "Value"))
        .collect::<Option<_>>()?;
    Some(Change {
        set: RecordSet {
            multivalue: text(set, "MultiValueAnswer").as_deref() == Some("true"),
            name: canonical(&text(set, "Name")?),
            set_identifier: text(set, "SetIdentifier"),
            ttl: text(set, "TTL")?.parse().ok()?,
            rtype: text(set, "Type")?,
            values,
            weight: text(set, "Weight").and_then(|weight| weight.parse().ok()),
        },
        verb,
    })
}

fn child<'a, 'input>(node: Node<'a, 'input>, name: &str) -> Option<Node<'a, 'input>> {
    node.children().find(|node| node.tag_name().name() == name)
}

fn text(node: Node<'_, '_>, name: &str) -> Option<String> {
    child(node, name).map(|node| node.text().unwrap_or_default().to_owned())
}
