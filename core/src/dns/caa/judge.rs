//! What a CAA RRset means for one CA, one account and one method (RFC 8659 section 4, RFC 8657 sections 3 and 4).

use std::fmt;

use super::CaaSet;
use super::record::CaaRecord;
use super::record::Permission;
use crate::dns::Identifier;

/// Who wants to issue, and how.
#[derive(Clone, Copy, Debug)]
pub struct CaaApplicant<'a> {
    /// The domain names that mean the CA: `caaIdentities` of its directory.
    pub identities: &'a [String],
    /// The URL of the account, octet by octet, where one is registered.
    pub account: Option<&'a str>,
    /// The method of validation, as RFC 8657 names it.
    pub method: &'a str,
}

/// Why a CA must not issue.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum CaaProblem {
    /// A critical property that no CA knows.
    CriticalTag {
        /// Its tag.
        tag: String,
    },
    /// This CA is permitted for other accounts only.
    OtherAccount {
        /// The accounts that are permitted.
        permitted: Vec<String>,
        /// Ours, where there is one.
        ours: Option<String>,
    },
    /// Other CAs are permitted, or nobody is.
    OtherCa {
        /// Those that are permitted.
        permitted: Vec<String>,
    },
    /// This CA is permitted with other methods only.
    OtherMethod {
        /// The methods that are permitted.
        permitted: Vec<String>,
        /// Ours.
        ours: String,
    },
    /// A value that cannot be read, which permits nobody.
    Unreadable {
        /// The value.
        value: String,
    },
}

impl CaaSet {
    /// Whether these records let `applicant` issue for `identifier`.
    ///
    /// # Errors
    ///
    /// With what stands in the way; where several records do, what is nearest to a permission.
    pub fn permits(
        &self,
        identifier: &Identifier,
        applicant: CaaApplicant<'_>,
    ) -> Result<(), CaaProblem> {
        judge(&self.records, identifier.is_wildcard(), applicant)
    }

    /// The property that says who may issue for `identifier` (RFC 8659 section 4.3).
    pub fn property_for(&self, identifier: &Identifier) -> &'static str {
        property(&self.records, identifier.is_wildcard())
    }
}

fn property(records: &[CaaRecord], is_wildcard: bool) -> &'static str {
    let has_issuewild = || records.iter().any(|record| record.tag == "issuewild");
    match is_wildcard && has_issuewild() {
        true => "issuewild",
        false => "issue",
    }
}

fn judge(
    records: &[CaaRecord],
    is_wildcard: bool,
    applicant: CaaApplicant<'_>,
) -> Result<(), CaaProblem> {
    let unknown = records
        .iter()
        .find(|record| record.is_critical() && !KNOWN_TAGS.contains(&record.tag.as_str()));
    if let Some(record) = unknown {
        return Err(CaaProblem::CriticalTag {
            tag: record.tag.clone(),
        });
    }
    let property = property(records, is_wildcard);
    let relevant: Vec<&CaaRecord> = records
        .iter()
        .filter(|record| record.tag == property)
        .collect();
    // Only `iodef` and the like: nothing is restricted.
    if relevant.is_empty() {
        return Ok(());
    }

    let mut accounts = Vec::new();
    let mut methods = Vec::new();
    let mut others = Vec::new();
    let mut unreadable = None;
    for record in &relevant {
        let Some(permission) = record.permission() else {
            unreadable.get_or_insert_with(|| record.value.clone());
            continue;
        };
        // Octet by octet, as Boulder does it.
        if !applicant.identities.contains(&permission.domain) || permission.domain.is_empty() {
            if !permission.domain.is_empty() && !others.contains(&permission.domain) {
                others.push(permission.domain);
            }
            continue;
        }
        match (
            wrong_account(&permission, applicant.account),
            wrong_method(&permission, applicant.method),
        ) {
            (None, None) => return Ok(()),
            (Some(permitted), _) => accounts.extend(permitted),
            (None, Some(permitted)) => methods.extend(permitted),
        }
    }
    if !methods.is_empty() {
        return Err(CaaProblem::OtherMethod {
            permitted: methods,
            ours: applicant.method.to_owned(),
        });
    }
    if !accounts.is_empty() {
        return Err(CaaProblem::OtherAccount {
            permitted: accounts,
            ours: applicant.account.map(str::to_owned),
        });
    }
    match unreadable {
        Some(value) if others.is_empty() => Err(CaaProblem::Unreadable { value }),
        _ => Err(CaaProblem::OtherCa { permitted: others }),
    }
}

/// The accounts that are permitted where ours is not. Two of them in one record can never both be met (RFC 8657 section 3).
fn wrong_account(permission: &Permission, ours: Option<&str>) -> Option<Vec<String>> {
    let permitted: Vec<&str> = permission.all("accounturi").collect();
    match (permitted.as_slice(), ours) {
        ([], _) => None,
        ([one], Some(ours)) if *one == ours => None,
        (all, _) => Some(all.iter().map(|account| (*account).to_owned()).collect()),
    }
}

fn wrong_method(permission: &Permission, ours: &str) -> Option<Vec<String>> {
    let lists: Vec<&str> = permission.all("validationmethods").collect();
    let all = || lists.iter().flat_map(|list| list.split(','));
    match (lists.as_slice(), all().any(|method| method == ours)) {
        ([], _) => None,
        ([_], true) => None,
        _ => Some(all().map(str::to_owned).collect()),
    }
}

impl fmt::Display for CaaProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CriticalTag { tag } => write!(
                f,
                "the critical property `{tag}` is known to no CA, so none may issue"
            ),
            Self::OtherAccount {
                permitted,
                ours: Some(ours),
            } => write!(
                f,
                "only the account {} may issue, and ours is {ours}",
                permitted.join(" or ")
            ),
            Self::OtherAccount {
                permitted,
                ours: None,
            } => write!(
                f,
                "only the account {} may issue, and we have none yet",
                permitted.join(" or ")
            ),
            Self::OtherCa { permitted } if permitted.is_empty() => {
                f.write_str("no CA at all may issue")
            }
            Self::OtherCa { permitted } => {
                write!(f, "only {} may issue", permitted.join(" or "))
            }
            Self::OtherMethod { permitted, ours } => write!(
                f,
                "only validation by {} is permitted, and ours is {ours}",
                permitted.join(" or ")
            ),
            Self::Unreadable { value } => write!(
                f,
                "the value `{}` cannot be read, which permits nobody",
                shown(value)
            ),
        }
    }
}

/// A value of a stranger's zone, as a terminal may have it.
fn shown(value: &str) -> String {
    let mut shown: String = value.chars().take(MOST_SHOWN).collect();
    shown = shown.escape_debug().to_string();
    if value.chars().nth(MOST_SHOWN).is_some() {
        shown.push('…');
    }
    shown
}

/// Nobody's CA has a longer name.
const MOST_SHOWN: usize = 100;
/// RFC 8659 section 4, RFC 9495 (`issuemail`), and those of the CA/Browser Forum; CAs know them, so their critical flag stops nobody.
const KNOWN_TAGS: [&str; 7] = [
    "contactemail",
    "contactphone",
    "iodef",
    "issue",
    "issuemail",
    "issuevmc",
    "issuewild",
];

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "https://acme.example.net/acct/1";

    fn verdict(lines: &[(u8, &str, &str)], is_wildcard: bool) -> Result<(), CaaProblem> {
        let records: Vec<CaaRecord> = lines
            .iter()
            .map(|(flags, tag, value)| CaaRecord::new(*flags, tag, value))
            .collect();
        let identities = ["ca.example.net".to_owned(), "alt.example.org".to_owned()];
        judge(
            &records,
            is_wildcard,
            CaaApplicant {
                identities: &identities,
                account: Some(OURS),
                method: "dns-01",
            },
        )
    }

    fn permitted(lines: &[(u8, &str, &str)], is_wildcard: bool) -> bool {
        verdict(lines, is_wildcard).is_ok()
    }

    #[test]
    fn no_restriction_is_a_permission() {
        assert!(permitted(&[], false));
        assert!(permitted(&[(0, "iodef", "mailto:x@example.com")], true));
        assert!(permitted(&[(0, "futuretag", "whatever")], false));
        // Without `issue`, `issuewild` restricts wildcards only.
        assert!(permitted(&[(0, "issuewild", ";")], false));
    }

    #[test]
    fn issuers_are_compared_octet_by_octet() {
        assert!(permitted(&[(0, "issue", "ca.example.net")], false));
        assert!(permitted(&[(0, "ISSUE", " alt.example.org ; ")], false));
        for other in [";", "", "other.example", "CA.example.net", "example.net"] {
            assert!(!permitted(&[(0, "issue", other)], false), "{other}");
        }
        assert!(permitted(
            &[
                (0, "issue", "other.example"),
                (0, "issue", "ca.example.net")
            ],
            false
        ));
    }

    #[test]
    fn wildcards_look_at_issuewild_first() {
        let records = [
            (0, "issue", "ca.example.net"),
            (0, "issuewild", "other.example"),
        ];
        assert!(permitted(&records, false));
        assert_eq!(
            verdict(&records, true),
            Err(CaaProblem::OtherCa {
                permitted: vec!["other.example".to_owned()]
            })
        );
        let records = [
            (0, "issue", "other.example"),
            (0, "issuewild", "ca.example.net"),
        ];
        assert!(!permitted(&records, false));
        assert!(permitted(&records, true));
        assert!(permitted(&[(0, "issue", "ca.example.net")], true));
        assert!(!permitted(&[(0, "issue", ";")], true));
    }

    #[test]
    fn the_property_that_counts_is_told() {
        let of = |tags: &[&str], is_wildcard| {
            let records = tags
                .iter()
                .map(|tag| CaaRecord::new(0, tag, "ca.example.net"));
            property(&records.collect::<Vec<_>>(), is_wildcard)
        };
        assert_eq!(of(&["issue"], true), "issue");
        assert_eq!(of(&["issue", "issuewild"], true), "issuewild");
        assert_eq!(of(&["issue", "issuewild"], false), "issue");
    }

    #[test]
    fn critical_unknown_properties_forbid() {
        for flags in [128, 1, 129] {
            assert_eq!(
                verdict(
                    &[(flags, "tbs", "Unknown"), (0, "issue", "ca.example.net")],
                    false
                ),
                Err(CaaProblem::CriticalTag { tag: "tbs".into() }),
                "{flags}"
            );
        }
        // RFC 8659 section 4.5: not critical, so it is passed over.
        assert!(permitted(
            &[(0, "tbs", "Unknown"), (0, "issue", "ca.example.net")],
            false
        ));
        assert!(permitted(
            &[(128, "issue", "ca.example.net"), (128, "issuemail", ";")],
            false
        ));
    }

    #[test]
    fn accounts_of_rfc_8657() {
        let with = |value: &str| verdict(&[(0, "issue", value)], false);
        assert!(with(&format!("ca.example.net; accounturi={OURS}")).is_ok());
        let other = with("ca.example.net; accounturi=https://acme.example.net/acct/2");
        assert!(
            matches!(&other, Err(CaaProblem::OtherAccount { ours: Some(ours), .. }) if ours == OURS),
            "{other:?}"
        );
        // Two of them cannot both be met.
        assert!(
            with(&format!(
                "ca.example.net; accounturi={OURS}; accounturi={OURS}"
            ))
            .is_err()
        );
        // One record that fits is enough.
        assert!(
            verdict(
                &[
                    (0, "issue", "ca.example.net; accounturi=https://x.example/1"),
                    (0, "issue", &format!("ca.example.net; accounturi={OURS}")),
                ],
                false
            )
            .is_ok()
        );
        // Somebody who has no account yet fits none.
        let records = [CaaRecord::new(
            0,
            "issue",
            &format!("ca.example.net; accounturi={OURS}"),
        )];
        let identities = ["ca.example.net".to_owned()];
        let nobody = CaaApplicant {
            identities: &identities,
            account: None,
            method: "dns-01",
        };
        assert!(judge(&records, false, nobody).is_err());
    }

    #[test]
    fn methods_of_rfc_8657() {
        let with = |value: &str| verdict(&[(0, "issue", value)], false);
        assert!(with("ca.example.net; validationmethods=http-01,dns-01").is_ok());
        assert_eq!(
            with("ca.example.net; validationmethods=http-01,tls-alpn-01"),
            Err(CaaProblem::OtherMethod {
                permitted: vec!["http-01".into(), "tls-alpn-01".into()],
                ours: "dns-01".into(),
            })
        );
        assert!(with("ca.example.net; validationmethods=").is_err());
        // A parameter of the CA's own restricts nobody here.
        assert!(with("ca.example.net; policy=ev").is_ok());
    }

    #[test]
    fn a_terminal_obeys_no_value() {
        let value = format!("%\u{1b}[31m{}", "x".repeat(60_000));
        let said = CaaProblem::Unreadable { value }.to_string();
        assert!(
            said.contains(r"%\u{1b}[31mxxx") && said.contains("x…`"),
            "{said}"
        );
        assert!(said.len() < 300, "{said}");
    }

    #[test]
    fn what_cannot_be_read_permits_nobody() {
        assert_eq!(
            verdict(&[(0, "issue", "%%%%%")], false),
            Err(CaaProblem::Unreadable {
                value: "%%%%%".into()
            })
        );
        assert!(permitted(
            &[(0, "issue", "%%%%%"), (0, "issue", "ca.example.net")],
            false
        ));
    }
}
