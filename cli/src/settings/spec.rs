//! What is asked of a certificate beyond names, key type, profile and CA: flags, else its own part of the configuration, else
//! the top of it.

use std::path::Path;
use std::sync::Arc;

use dnseal_core::acme::CertificateKey;
use dnseal_core::acme::Csr;
use dnseal_core::issue::KeyChoice;
use dnseal_core::issue::Options;
use dnseal_core::store::Moment;

use crate::args::SpecArgs;
use crate::config;
use crate::config::Config;
use crate::config::Secret;
use crate::error::CliError;
use crate::input;

/// All of it but the other CAs.
pub(super) fn options(
    args: &SpecArgs,
    certificate: Option<&config::Certificate>,
    config: &Config,
) -> Result<Options, CliError> {
    let (own, all) = (certificate.map(|c| &c.spec), &config.spec);
    let flag = |given: bool, of: fn(&config::Spec) -> Option<bool>| {
        given || own.and_then(of).or_else(|| of(all)).unwrap_or(false)
    };
    let csr = args.csr.as_ref().or(own.and_then(|s| s.csr.as_ref()));
    let key_file = args
        .key_file
        .as_ref()
        .or(own.and_then(|s| s.key_file.as_ref()));
    let reuse_key = flag(args.reuse_key, |s| s.reuse_key);
    // A flag beats the other kinds of key that the configuration names.
    let key = match (csr, key_file) {
        (Some(path), None) => KeyChoice::Csr(Arc::new(csr_of(path)?)),
        (Some(path), Some(_)) if args.csr.is_some() => KeyChoice::Csr(Arc::new(csr_of(path)?)),
        (_, Some(path)) => KeyChoice::Given(Arc::new(key_of(path)?)),
        (None, None) if reuse_key => KeyChoice::Reuse,
        (None, None) => KeyChoice::New,
    };
    let is_csr = matches!(key, KeyChoice::Csr(_));
    Ok(Options {
        // What the top of the configuration says of all is not said of a signing request.
        allow_subset: match is_csr {
            true => own.and_then(|s| s.allow_subset).unwrap_or(false),
            false => flag(args.allow_subset, |s| s.allow_subset),
        },
        must_staple: !is_csr && flag(args.must_staple, |s| s.must_staple),
        new_key: args.new_key,
        not_before: moment(args.not_before.as_deref(), "--not-before")?
            .or(own.and_then(|s| s.not_before)),
        not_after: moment(args.not_after.as_deref(), "--not-after")?
            .or(own.and_then(|s| s.not_after)),
        other_cas: Vec::new(),
        preferred_chain: args
            .preferred_chain
            .clone()
            .or_else(|| own.and_then(|s| s.preferred_chain.clone()))
            .or_else(|| all.preferred_chain.clone())
            .map(|name| name.trim().to_owned())
            .filter(|name| !name.is_empty()),
        preferred_profile: None,
        key,
    })
}

/// The profile that must be, or the one that may be; the nearest word wins.
pub(super) fn profiles(
    profile: Option<&String>,
    args: &SpecArgs,
    certificate: Option<&config::Certificate>,
    config: &Config,
) -> (Option<String>, Option<String>) {
    let levels = [
        (profile, args.preferred_profile.as_ref()),
        (
            certificate.and_then(|c| c.profile.as_ref()),
            certificate.and_then(|c| c.spec.preferred_profile.as_ref()),
        ),
        (
            config.profile.as_ref(),
            config.spec.preferred_profile.as_ref(),
        ),
    ];
    let given = |text: Option<&String>| text.filter(|t| !t.is_empty()).cloned();
    let said = levels
        .into_iter()
        .find(|(must, may)| must.is_some() || may.is_some());
    match said {
        Some((must, may)) => match given(must) {
            Some(must) => (Some(must), None),
            None => (None, given(may)),
        },
        None => (None, None),
    }
}

/// The signing request in a file.
pub(super) fn csr_of(path: &Path) -> Result<Csr, CliError> {
    let content = input::read(path).map_err(CliError::io("read the signing request", path))?;
    Csr::parse(&content).map_err(|source| CliError::Csr {
        path: path.to_owned(),
        source,
    })
}

fn key_of(path: &Path) -> Result<CertificateKey, CliError> {
    let text = Secret::File(path.to_owned())
        .resolve()
        .map_err(|source| CliError::Secret {
            what: "the key of the certificate".to_owned(),
            source,
        })?;
    CertificateKey::from_pem(&text).map_err(|source| CliError::KeyFile {
        path: path.to_owned(),
        source,
    })
}

fn moment(text: Option<&str>, flag: &str) -> Result<Option<Moment>, CliError> {
    let Some(text) = text.filter(|t| !t.is_empty()) else {
        return Ok(None);
    };
    match text.parse() {
        Ok(moment) => Ok(Some(moment)),
        Err(error) => Err(CliError::usage(
            format!("{flag}: {error}"),
            "write for example `+30d`, `2027-03-01` or `2027-03-01T12:00:00Z`",
        )),
    }
}
