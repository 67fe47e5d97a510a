//! Whether a zone is bogus, which every CA refuses.

use super::Check;
use super::Finding;
use crate::dns::Discovery;
use crate::dns::Dnssec;
use crate::dns::DomainName;

pub(super) async fn check(discovery: &Discovery, zone: &DomainName) -> Finding {
    match discovery.dnssec(zone).await {
        Dnssec::Bogus { resolver, question } => Finding::failure(
            Check::Dnssec,
            zone,
            format!(
                "the zone is bogus: {resolver} answers SERVFAIL for {question}, and an answer once checking is disabled"
            ),
        )
        .fix(format!(
            "CAs refuse such zones: sign {zone} anew, or mend the DS records in its parent (`delv {}{question}` says which signature)",
            match resolver.address() {
                Some(address) => format!("@{} ", address.ip()),
                None => String::new(),
            }
        )),
        Dnssec::Secure { resolver } => Finding::ok(
            Check::Dnssec,
            zone,
            format!("signed, and validated by {resolver}"),
        ),
        Dnssec::Unsigned { resolver } => {
            Finding::ok(Check::Dnssec, zone, format!("not signed, says {resolver}"))
        }
        Dnssec::Unvalidated { resolver } => Finding::warning(
            Check::Dnssec,
            zone,
            format!("signed, and {resolver} does not validate, so it is not known whether the signatures are good"),
        )
        .fix("name a resolver that validates with `--resolver`"),
        Dnssec::Unknown { reason } => Finding::ok(
            Check::Dnssec,
            zone,
            format!("not looked at: {reason}"),
        ),
    }
}
