//! What the configuration says of this machine: where certificates go, and which commands run.

mod check;
pub(super) mod raw;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

use dnseal_core::deploy::Access;
use dnseal_core::deploy::Hook;
use dnseal_core::deploy::HookDirectory;
use dnseal_core::store::CertId;

use crate::config::Secret;

pub(super) use check::access;
pub(super) use check::timeout;

/// Files, then a command.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) label: String,
    pub(crate) files: Vec<File>,
    pub(crate) command: Option<Hook>,
    pub(crate) each: bool,
}

/// One file; `{name}` in its path is the name of the certificate.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) path: PathBuf,
    pub(crate) content: Content,
    pub(crate) access: Access,
}

impl File {
    /// Where it is for one certificate.
    pub(crate) fn path_of(&self, id: &CertId) -> PathBuf {
        PathBuf::from(named(&self.path.to_string_lossy(), id))
    }
}

/// `{name}` is the name of the certificate.
pub(crate) fn named(text: &str, id: &CertId) -> String {
    text.replace("{name}", id.as_str())
}

/// What is in a file.
#[derive(Clone, Debug)]
pub(crate) enum Content {
    Cert,
    Chain,
    Combined,
    FullChain,
    Key,
    Pkcs12 { password: Secret },
}

/// Commands around a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hooks {
    pub(crate) pre: Vec<Hook>,
    pub(crate) deploy: Vec<Hook>,
    pub(crate) post: Vec<Hook>,
    pub(crate) directory: Option<HookDirectory>,
    /// Names of variables that commands get beside the usual ones.
    pub(crate) pass: Vec<String>,
}
