//! What a user says about where challenges live: to follow DNS, not to, or a name of their own.

use crate::dns::DomainName;

/// How the place of one challenge is found.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Delegation {
    /// CNAME, DNAME and NS records are followed from the challenge name, as a CA does it.
    #[default]
    Follow,
    /// The value goes to the challenge name itself, whatever alias seems to be there.
    Here,
    /// The value goes to this name, to which an alias leads from the challenge name; also where a wildcard hides that.
    To(DomainName),
}

/// Which name is found how; the longest suffix wins.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct DelegationRules {
    table: Vec<(DomainName, Delegation)>,
    fallback: Delegation,
}

impl DelegationRules {
    /// `table` has names that certificates are for, and speaks of these and of what is below them; `fallback` of the rest.
    pub fn new(mut table: Vec<(DomainName, Delegation)>, fallback: Delegation) -> Self {
        table.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.label_count()));
        Self { table, fallback }
    }

    /// What counts for a challenge name.
    pub fn of(&self, owner: &DomainName) -> &Delegation {
        self.table
            .iter()
            .find(|(suffix, _)| owner.is_within(suffix))
            .map_or(&self.fallback, |(_, delegation)| delegation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_suffix_wins() {
        let name = |text: &str| text.parse::<DomainName>().unwrap();
        let target = Delegation::To(name("x.acme.test"));
        let rules = DelegationRules::new(
            vec![
                (name("example.com"), Delegation::Here),
                (name("www.example.com"), target.clone()),
            ],
            Delegation::Follow,
        );
        assert_eq!(*rules.of(&name("_acme-challenge.www.example.com")), target);
        assert_eq!(
            *rules.of(&name("_acme-challenge.a.www.example.com")),
            target
        );
        assert_eq!(
            *rules.of(&name("_acme-challenge.example.com")),
            Delegation::Here
        );
        assert_eq!(
            *rules.of(&name("_acme-challenge.example.org")),
            Delegation::Follow
        );
    }
}
