//! Which names may be ordered (RFC 8555 section 7.1.3 and 7.4), by the rules that public CAs apply.

use serde::{Deserialize, Serialize};

use super::problem::{ErrorKind, Problem, Subproblem};

/// How many names an order may have.
const MAX_NAMES: usize = 100;

/// An identifier as clients write it and as orders show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Identifier {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) value: String,
}

impl Identifier {
    pub(super) fn dns(value: impl Into<String>) -> Self {
        Self {
            kind: "dns".to_owned(),
            value: value.into(),
        }
    }
}

/// The names of an order: lower case, sorted, without duplicates.
pub(super) fn check(
    identifiers: &[Identifier],
    blocked: &[String],
) -> Result<Vec<String>, Problem> {
    if identifiers.is_empty() {
        return Err(Problem::malformed("order has no identifiers"));
    }
    let mut names = Vec::with_capacity(identifiers.len());
    let mut problems = Vec::new();
    for identifier in identifiers {
        let name = identifier.value.to_ascii_lowercase();
        let checked = match identifier.kind.as_str() {
            "dns" => check_name(&name, blocked),
            other => Err((
                ErrorKind::UnsupportedIdentifier,
                format!("identifiers of type \"{other}\" are not supported"),
            )),
        };
        match checked {
            Ok(()) => names.push(name),
            Err((kind, detail)) => problems.push(Subproblem {
                kind,
                detail,
                identifier_kind: identifier.kind.clone(),
                identifier: identifier.value.clone(),
            }),
        }
    }
    names.sort();
    names.dedup();
    for name in &names {
        if let Some((_, parent)) = name.split_once('.')
            && !name.starts_with("*.")
            && names.binary_search(&format!("*.{parent}")).is_ok()
        {
            problems.push(Subproblem {
                kind: ErrorKind::Malformed,
                detail: format!("is redundant with the wildcard *.{parent} of the same order"),
                identifier_kind: "dns".to_owned(),
                identifier: name.clone(),
            });
        }
    }
    if let Some(problem) = Problem::of_identifiers(problems) {
        return Err(problem);
    }
    if names.len() > MAX_NAMES {
        return Err(Problem::malformed(format!(
            "order has {} identifiers, at most {MAX_NAMES} are allowed",
            names.len()
        )));
    }
    Ok(names)
}

fn check_name(name: &str, blocked: &[String]) -> Result<(), (ErrorKind, String)> {
    let malformed = |detail: String| Err((ErrorKind::Malformed, detail));
    let rejected = |detail: String| Err((ErrorKind::RejectedIdentifier, detail));
    if name.is_empty() {
        return malformed("is empty".to_owned());
    }
    if !name.is_ascii() {
        return malformed("has characters outside ASCII, use A-labels".to_owned());
    }
    if name.ends_with('.') {
        return malformed("ends with a dot".to_owned());
    }
    let domain = name.strip_prefix("*.").unwrap_or(name);
    if domain.contains('*') {
        return malformed("has a wildcard that is not its whole first label".to_owned());
    }
    if domain.len() > 253 {
        return malformed(format!(
            "is {} octets long, at most 253 are possible",
            domain.len()
        ));
    }
    if domain.parse::<std::net::IpAddr>().is_ok() {
        return malformed("is an IP address and not a name".to_owned());
    }
    for label in domain.split('.') {
        if label.is_empty() || label.len() > 63 {
            return malformed(format!("has a label of {} octets", label.len()));
        }
        if let Some(character) = label
            .chars()
            .find(|c| !c.is_ascii_alphanumeric() && *c != '-')
        {
            return malformed(format!("has the invalid character \"{character}\""));
        }
        if label.starts_with('-') || label.ends_with('-') {
            return malformed("has a label that begins or ends with a hyphen".to_owned());
        }
        if label.get(2..4) == Some("--") && !label.starts_with("xn--") {
            return rejected("has a reserved label, \"--\" in third and fourth place".to_owned());
        }
    }
    if domain
        .rsplit('.')
        .next()
        .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
    {
        return malformed("has a last label of digits only".to_owned());
    }
    if !domain.contains('.') {
        return rejected("needs at least one dot".to_owned());
    }
    let is_blocked = |block: &String| {
        domain
            .strip_suffix(block.as_str())
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if blocked.iter().any(is_blocked) {
        return rejected("the CA forbids issuance for this name by policy".to_owned());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Result<Vec<String>, Problem> {
        let identifiers: Vec<Identifier> = names.iter().copied().map(Identifier::dns).collect();
        check(&identifiers, &["blocked.test".to_owned()])
    }

    #[test]
    fn good_names_are_normalized() {
        assert_eq!(
            names(&[
                "*.example.com",
                "Example.COM",
                "example.com",
                "xn--bcher-kva.example"
            ])
            .unwrap(),
            ["*.example.com", "example.com", "xn--bcher-kva.example"]
        );
    }

    #[test]
    fn bad_names() {
        for (name, kind) in [
            ("", ErrorKind::Malformed),
            ("example.com.", ErrorKind::Malformed),
            ("a..example.com", ErrorKind::Malformed),
            ("a.*.example.com", ErrorKind::Malformed),
            ("*a.example.com", ErrorKind::Malformed),
            ("_acme.example.com", ErrorKind::Malformed),
            ("-a.example.com", ErrorKind::Malformed),
            ("192.0.2.1", ErrorKind::Malformed),
            ("1.2.3", ErrorKind::Malformed),
            ("bücher.example", ErrorKind::Malformed),
            ("ab--cd.example", ErrorKind::RejectedIdentifier),
            ("localhost", ErrorKind::RejectedIdentifier),
            ("*.com", ErrorKind::RejectedIdentifier),
            ("blocked.test", ErrorKind::RejectedIdentifier),
            ("*.a.blocked.test", ErrorKind::RejectedIdentifier),
        ] {
            assert_eq!(names(&[name]).unwrap_err().kind, kind, "{name}");
        }
        assert!(names(&["notblocked.test"]).is_ok());
        assert!(names(&[&format!("{}.test", "a".repeat(64))]).is_err());
        assert!(names(&[&["a"; 128].join(".")]).is_err());
    }

    #[test]
    fn several_bad_names_are_subproblems() {
        let problem = names(&["blocked.test", "good.test", "a.blocked.test"]).unwrap_err();
        assert_eq!(problem.kind, ErrorKind::RejectedIdentifier);
        assert_eq!(problem.subproblems().len(), 2);
    }

    #[test]
    fn a_name_that_its_wildcard_covers_is_redundant() {
        assert!(names(&["*.example.com", "example.com"]).is_ok());
        assert!(names(&["*.example.com", "a.b.example.com"]).is_ok());
        assert_eq!(
            names(&["*.example.com", "www.example.com"])
                .unwrap_err()
                .kind,
            ErrorKind::Malformed
        );
    }

    #[test]
    fn other_types_and_sizes() {
        let ip = Identifier {
            kind: "ip".to_owned(),
            value: "192.0.2.1".to_owned(),
        };
        assert_eq!(
            check(&[ip], &[]).unwrap_err().kind,
            ErrorKind::UnsupportedIdentifier
        );
        assert_eq!(check(&[], &[]).unwrap_err().kind, ErrorKind::Malformed);
        let many: Vec<Identifier> = (0..101)
            .map(|i| Identifier::dns(format!("n{i}.test")))
            .collect();
        assert!(check(&many, &[]).is_err());
        assert!(check(&many[..100], &[]).is_ok());
    }
}
