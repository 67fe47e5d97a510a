//! One place where a certificate is needed: files, then a command.

use std::ffi::OsString;
use std::path::PathBuf;

use aws_lc_rs::digest;
use aws_lc_rs::hmac;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use serde::Serialize;

use crate::deploy::Access;
use crate::deploy::Hook;
use crate::deploy::TargetError;

/// Files that are written, then a command that is run.
#[derive(Clone, Debug)]
pub struct Target {
    /// What people know it by; one certificate has no two targets of the same label.
    pub label: String,
    /// The files, which change close together.
    pub files: Vec<TargetFile>,
    /// The command.
    pub command: Option<Hook>,
    /// Whether the command runs for each certificate. Otherwise it runs once for all certificates of a run that have it.
    pub each: bool,
}

/// One file.
#[derive(Clone, Debug)]
pub struct TargetFile {
    /// Where; absolute.
    pub path: PathBuf,
    /// What is in it.
    pub content: Content,
    /// Whose it is.
    pub access: Access,
}

/// What a file contains.
#[derive(Clone, Debug)]
pub enum Content {
    /// The certificate alone, PEM.
    Cert,
    /// What stands between it and the root, PEM.
    Chain,
    /// The private key, the certificate and the chain, PEM, in this order.
    Combined,
    /// The certificate and the chain, PEM.
    FullChain,
    /// The private key, PEM.
    Key,
    /// All of it, PKCS#12 (RFC 7292).
    Pkcs12 {
        /// The password that opens it.
        password: SecretString,
    },
}

impl Content {
    /// Whether the private key is in it.
    pub fn has_key(&self) -> bool {
        matches!(self, Self::Combined | Self::Key | Self::Pkcs12 { .. })
    }

    /// As the configuration calls it.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cert => "cert",
            Self::Chain => "chain",
            Self::Combined => "combined",
            Self::FullChain => "fullchain",
            Self::Key => "key",
            Self::Pkcs12 { .. } => "pkcs12",
        }
    }
}

impl Target {
    /// What would keep it from being done, as far as that can be told without writing or running anything; `variables` are those
    /// that every command gets.
    pub fn problems(&self, variables: &[(String, OsString)]) -> Vec<TargetError> {
        let files = self.files.iter().map(TargetFile::look);
        let command = self.command.iter().map(|hook| Ok(hook.look(variables)?));
        files.chain(command).filter_map(Result::err).collect()
    }

    /// A digest of what is to be done, without time-outs and without secrets.
    pub(super) fn definition(&self) -> String {
        #[derive(Serialize)]
        struct File<'a> {
            path: &'a std::path::Path,
            content: &'static str,
            access: &'a Access,
        }
        let files: Vec<File<'_>> = self
            .files
            .iter()
            .map(|file| File {
                path: &file.path,
                content: file.content.as_str(),
                access: &file.access,
            })
            .collect();
        let argv = self.command.as_ref().map(Hook::argv);
        let text = serde_json::json!({ "files": files, "command": argv }).to_string();
        hex(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
    }

    /// A digest of the secrets of this target under the certificate's key: who can read that needs no password, and nobody else can
    /// try passwords against it. `None` where there is none.
    pub(super) fn secret(&self, privkey: &SecretString) -> Option<String> {
        let mut passwords = self.files.iter().filter_map(|file| match &file.content {
            Content::Pkcs12 { password } => Some(password),
            _ => None,
        });
        let first = passwords.next()?;
        let key = hmac::Key::new(hmac::HMAC_SHA256, privkey.expose_secret().as_bytes());
        let mut context = hmac::Context::with_key(&key);
        for password in std::iter::once(first).chain(passwords) {
            context.update(password.expose_secret().as_bytes());
            context.update(&[0]);
        }
        Some(hex(context.sign().as_ref()))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn target(path: &str, password: &str) -> Target {
        Target {
            label: "t".into(),
            files: vec![TargetFile {
                path: path.into(),
                content: Content::Pkcs12 {
                    password: password.into(),
                },
                access: Access::default(),
            }],
            command: Some(Hook::shell("true", Duration::from_secs(1))),
            each: false,
        }
    }

    #[test]
    fn a_definition_changes_with_what_is_done_and_tells_no_password() {
        let one = target("/a", "canary");
        assert_eq!(one.definition(), target("/a", "other").definition());
        assert_ne!(one.definition(), target("/b", "canary").definition());
        let (k1, k2) = (SecretString::from("k1"), SecretString::from("k2"));
        assert_eq!(one.secret(&k1), target("/b", "canary").secret(&k1));
        assert_ne!(one.secret(&k1), target("/a", "other").secret(&k1));
        assert_ne!(one.secret(&k1), one.secret(&k2));
        assert!(!format!("{one:?}").contains("canary"));
    }
}
