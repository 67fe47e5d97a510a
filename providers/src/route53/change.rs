//! From wishes to changes: what stands at an owner, and what shall stand there, as one DELETE and one CREATE.
//!
//! Both in one batch are a compare-and-swap: the DELETE must name exactly what is there, and all of a batch happens or nothing.
//! There is no UPSERT here, because it would win against whoever wrote in between. Nothing in this module waits.

use aws_sdk_route53::types::Change;
use aws_sdk_route53::types::ChangeAction;
use dnseal_core::dns::Action;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Handle;
use dnseal_core::dns::TxtChange;

use crate::route53::rrset::Standing;
use crate::route53::rrset::TxtSet;
use crate::route53::text;

/// One change that somebody waits for, with its place among all.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish<'a> {
    pub(super) change: &'a TxtChange,
    pub(super) place: usize,
}

/// What has to happen at one owner.
#[derive(Debug)]
pub(super) enum Plan {
    /// The change that does it.
    Swap(Swap),
    /// All is as it should be.
    Satisfied,
    /// It cannot be done.
    Unfit(String),
}

/// One owner's change.
#[derive(Clone, Debug)]
pub(super) struct Swap {
    pub(super) create: Option<TxtSet>,
    pub(super) delete: Option<TxtSet>,
    pub(super) owner: DomainName,
}

impl Swap {
    /// What was read, and must still be there.
    pub(super) fn read(&self) -> Standing {
        self.delete
            .clone()
            .map_or(Standing::Nothing, Standing::Simple)
    }

    /// For added values: the TTL that was lowered for them, to be restored when they go.
    pub(super) fn handle(&self) -> Option<Handle> {
        let (before, after) = (self.delete.as_ref()?.ttl, self.create.as_ref()?.ttl);
        (after < before).then(|| Handle(format!("{HANDLE}{before}:{after}")))
    }

    pub(super) fn to_sdk(&self) -> Result<Vec<Change>, String> {
        let delete = self.delete.iter().map(|set| (ChangeAction::Delete, set));
        let create = self.create.iter().map(|set| (ChangeAction::Create, set));
        delete
            .chain(create)
            .map(|(action, set)| {
                Change::builder()
                    .action(action)
                    .resource_record_set(set.to_sdk()?)
                    .build()
                    .map_err(|e| e.to_string())
            })
            .collect()
    }

    fn sets(&self) -> impl Iterator<Item = &TxtSet> {
        self.delete.iter().chain(&self.create)
    }

    fn size(&self) -> Size {
        Size {
            characters: self.sets().map(TxtSet::characters).sum(),
            elements: self.sets().map(|set| set.values.len()).sum(),
        }
    }
}

/// What has to happen at `owner` so that it is as all of `wishes` want it.
pub(super) fn plan(owner: &DomainName, standing: &Standing, wishes: &[Wish<'_>]) -> Plan {
    let before = match standing {
        Standing::Nothing => None,
        Standing::Simple(set) => Some(set),
        Standing::Routed(policy) => {
            // Route 53 lets no simple record set stand beside; what we remove was never there.
            return match wishes.iter().any(|w| w.change.action == Action::Add) {
                true => Plan::Unfit(format!(
                    "TXT at {owner} is {policy}, beside which Route 53 takes no other value; remove it, or delegate the name with a CNAME"
                )),
                false => Plan::Satisfied,
            };
        }
    };
    let mut values = before.map_or_else(Vec::new, |set| set.values.clone());
    let mut ttl = before.map(|set| set.ttl);
    for Wish { change, .. } in wishes {
        let same = |text: &String| text::decode(text).as_ref() == Some(&change.value);
        match change.action {
            Action::Add if !values.iter().any(same) => {
                values.push(text::encode(&change.value));
                let ours = i64::from(change.ttl);
                ttl = Some(ttl.map_or(ours, |theirs| theirs.min(ours)));
            }
            Action::Add => {}
            Action::Remove => {
                let count = values.len();
                values.retain(|text| !same(text));
                if values.len() < count
                    && let Some((theirs, ours)) = change.handle.as_ref().and_then(lowered)
                    && ttl == Some(ours)
                {
                    ttl = Some(theirs);
                }
            }
        }
    }
    let after = (!values.is_empty()).then(|| TxtSet {
        name: before.map_or_else(|| format!("{owner}."), |set| set.name.clone()),
        ttl: ttl.unwrap_or_default(),
        values,
    });
    if before == after.as_ref() {
        return Plan::Satisfied;
    }
    let swap = Swap {
        create: after,
        delete: before.cloned(),
        owner: owner.clone(),
    };
    match swap.size().fits() {
        true => Plan::Swap(swap),
        false => Plan::Unfit(format!(
            "TXT at {owner} has too many values for one request of Route 53, which takes {MOST_ELEMENTS} records and {MOST_CHARACTERS} characters, what is replaced included"
        )),
    }
}

/// Swaps in as few requests as the limits allow; none is torn apart.
pub(super) fn batches(swaps: Vec<Swap>) -> Vec<Vec<Swap>> {
    let mut batches: Vec<Vec<Swap>> = Vec::new();
    let mut room = Size::default();
    for swap in swaps {
        let size = swap.size();
        let together = Size {
            characters: room.characters + size.characters,
            elements: room.elements + size.elements,
        };
        match batches.last_mut() {
            Some(batch) if together.fits() => {
                batch.push(swap);
                room = together;
            }
            _ => {
                batches.push(vec![swap]);
                room = size;
            }
        }
    }
    batches
}

/// Why a change cannot even be asked for.
pub(super) fn unfit(zone: &DomainName, change: &TxtChange) -> Option<String> {
    if !change.owner.is_within(zone) {
        return Some(format!("{} is not in the zone {zone}", change.owner));
    }
    let characters = text::encode(&change.value).chars().count();
    (characters > LONGEST_VALUE).then(|| {
        format!(
            "a value of {characters} characters is longer than the {LONGEST_VALUE} that Route 53 takes"
        )
    })
}

#[derive(Clone, Copy, Debug, Default)]
struct Size {
    characters: usize,
    elements: usize,
}

impl Size {
    fn fits(self) -> bool {
        self.characters <= MOST_CHARACTERS && self.elements <= MOST_ELEMENTS
    }
}

/// The TTL that stood before ours, and ours.
fn lowered(handle: &Handle) -> Option<(i64, i64)> {
    let (theirs, ours) = handle.0.strip_prefix(HANDLE)?.split_once(':')?;
    Some((theirs.parse().ok()?, ours.parse().ok()?))
}

const HANDLE: &str = "ttl:";
/// "Quotas" in the Route 53 Developer Guide: `ResourceRecord` elements, and characters in all `Value` elements of a request.
const MOST_ELEMENTS: usize = 1000;
const MOST_CHARACTERS: usize = 32_000;
/// "TXT record type" in the Route 53 Developer Guide.
const LONGEST_VALUE: usize = 4000;
/// Challenge values at one name that can still be swapped in one request, 45 characters each, before and after.
pub(super) const MOST_VALUES: usize = 350;
