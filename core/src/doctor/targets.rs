//! Where certificates go on this machine: directories, owners, programs.

use std::ffi::OsString;
use std::fmt;

use crate::deploy::Target;
use crate::store::CertId;

use super::Check;
use super::Finding;

/// What would keep these targets of a certificate from getting it; `variables` are those that every command gets.
pub fn targets(id: &CertId, targets: &[Target], variables: &[(String, OsString)]) -> Vec<Finding> {
    let of = |target: &Target| {
        let about = format!("{id} to {}", target.label);
        let problems = target.problems(variables);
        match problems.is_empty() {
            true => vec![Finding::ok(Check::Deployment, about, "is ready")],
            false => problems
                .iter()
                .map(|error| no_target(&about, error.to_string(), error.hint()))
                .collect(),
        }
    };
    targets.iter().flat_map(of).collect()
}

/// That it cannot even be told where a certificate goes.
pub fn no_target(about: impl fmt::Display, message: String, fix: Option<String>) -> Finding {
    Finding::failure(Check::Deployment, about, message).maybe_fix(fix)
}
