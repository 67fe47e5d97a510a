//! A batch that was refused, and which of its record sets the server complains about.
//!
//! The words are one list for the whole batch: `[Tried to create resource record set [name='a.test.', type='TXT'] but it already
//! exists, RRSet of type TXT with DNS name b.test. is not permitted because …]`. They are used to tell the guilty from the innocent
//! sooner, never as the only proof of anything.

use aws_sdk_route53::error::SdkError;
use aws_sdk_route53::operation::change_resource_record_sets::ChangeResourceRecordSetsError;
use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use dnseal_core::dns::DomainName;

use crate::route53::errors;

/// What the server said about a batch.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    /// All of it.
    pub(super) words: String,
}

impl Refusal {
    pub(super) fn of(error: &SdkError<ChangeResourceRecordSetsError, HttpResponse>) -> Self {
        let listed = match error.as_service_error() {
            Some(ChangeResourceRecordSetsError::InvalidChangeBatch(batch)) => {
                batch.messages().join(", ")
            }
            _ => String::new(),
        };
        Self {
            words: match listed.is_empty() {
                true => errors::words(error),
                false => format!("InvalidChangeBatch: [{listed}]"),
            },
        }
    }

    /// The sentence about `owner`, if there is one.
    pub(super) fn about(&self, owner: &DomainName) -> Option<&str> {
        let at = self
            .words
            .match_indices(owner.as_str())
            .map(|(at, _)| at)
            .find(|&at| self.is_whole_name(at, at + owner.as_str().len()))?;
        let (before, after) = self.words.split_at_checked(at)?;
        let begin = SENTENCES
            .iter()
            .filter_map(|first| before.rfind(first))
            .max()
            .unwrap_or(0);
        let end = SENTENCES
            .iter()
            .filter_map(|first| after.find(&format!(", {first}")))
            .min()
            .map_or(self.words.len(), |end| at + end);
        let sentence = self.words.get(begin..end)?.trim();
        // The bracket around the whole list, and none that a sentence opened itself.
        let opened = sentence.matches('[').count();
        let closed = sentence.matches(']').count();
        match closed > opened {
            true => sentence.strip_suffix(']'),
            false => Some(sentence),
        }
    }

    fn is_whole_name(&self, begin: usize, end: usize) -> bool {
        let belongs = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b'\\');
        let octets = self.words.as_bytes();
        let before = begin.checked_sub(1).and_then(|at| octets.get(at));
        let after = match octets.get(end) {
            Some(b'.') => octets.get(end + 1),
            other => other,
        };
        !before.is_some_and(|b| belongs(*b)) && !after.is_some_and(|b| belongs(*b))
    }
}

/// Whether these words say that something else is there than the request thought.
pub(super) fn is_conflict(words: &str) -> bool {
    CONFLICTS.iter().any(|part| words.contains(part))
}

const SENTENCES: [&str; 5] = [
    "Tried to ",
    "RRSet ",
    "Invalid Resource Record",
    "FATAL problem",
    "The request ",
];
const CONFLICTS: [&str; 3] = [
    "but it already exists",
    "but it was not found",
    "do not match the current values",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_found_by_the_name_they_are_about() {
        let refusal = Refusal {
            words: "InvalidChangeBatch: [Tried to create resource record set [name='a.test.', type='TXT'] but it already exists, \
                    RRSet of type TXT with DNS name _acme-challenge.b.test. is not permitted because a conflicting RRSet of type \
                    CNAME with the same DNS name already exists in zone test., \
                    Tried to delete resource record set [name='c.test.', type='TXT'] but the values provided do not match the current values]"
                .to_owned(),
        };
        let about = |name: &str| refusal.about(&name.parse().unwrap());
        assert_eq!(
            about("a.test"),
            Some(
                "Tried to create resource record set [name='a.test.', type='TXT'] but it already exists"
            )
        );
        let alias = about("_acme-challenge.b.test").unwrap();
        assert!(alias.starts_with("RRSet of type TXT"), "{alias}");
        assert!(alias.ends_with("in zone test."), "{alias}");
        assert!(!is_conflict(alias));
        let last = about("c.test").unwrap();
        assert!(
            last.ends_with("current values") && is_conflict(last),
            "{last}"
        );
        assert_eq!(about("b.test"), None);
        assert_eq!(about("d.test"), None);
    }
}
