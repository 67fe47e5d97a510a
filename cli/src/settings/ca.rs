//! Which CA, and as whom.

use std::path::PathBuf;

use dnseal_core::acme::Ca;
use dnseal_core::acme::ExternalAccount;
use dnseal_core::acme::KeyType;
use dnseal_core::store::AccountId;
use secrecy::SecretString;

use crate::args::CaArgs;
use crate::config;
use crate::config::Config;
use crate::config::Place;
use crate::config::Secret;
use crate::env_vars;
use crate::error::CliError;

/// A CA with everything that a request there needs.
#[derive(Debug)]
pub(crate) struct ChosenCa {
    pub(crate) account: Option<AccountId>,
    pub(crate) ca: Ca,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) external_account: Option<ExternalAccount>,
}

/// The CA that flags and environment name, else the certificate's own, else the configuration's, else Let's Encrypt.
///
/// What the configuration says about a CA, its roots and its external account, goes only with that CA.
pub(crate) fn ca(
    args: &CaArgs,
    of_certificate: Option<&config::Certificate>,
    config: &Config,
    key_type: KeyType,
) -> Result<ChosenCa, CliError> {
    let named = named(args, of_certificate, config, key_type)?;
    Ok(ChosenCa {
        external_account: external_account(args, named.configured.and_then(|ca| ca.eab.as_ref()))?,
        account: named.account,
        ca: named.ca,
        roots: named.roots,
    })
}

/// A CA, without the secrets that a request there may need.
#[derive(Debug)]
pub(super) struct NamedCa<'a> {
    pub(super) account: Option<AccountId>,
    pub(super) ca: Ca,
    pub(super) name_or_url: String,
    pub(super) roots: Vec<PathBuf>,
    configured: Option<&'a config::Ca>,
}

/// The same CA, with no secret read.
pub(super) fn named<'a>(
    args: &CaArgs,
    of_certificate: Option<&'a config::Certificate>,
    config: &'a Config,
    key_type: KeyType,
) -> Result<NamedCa<'a>, CliError> {
    let own = of_certificate.and_then(|certificate| certificate.ca.as_ref());
    let configured = own.or(config.ca.as_ref());
    let named = args.ca.as_deref().filter(|ca| !ca.is_empty());
    let configured = configured.filter(|ca| named.is_none_or(|named| named == ca.name_or_url));
    let name_or_url = named
        .or(configured.map(|ca| ca.name_or_url.as_str()))
        .unwrap_or(DEFAULT);
    let given_roots: Vec<PathBuf> = args
        .ca_root
        .iter()
        .filter(|path| !path.as_os_str().is_empty())
        .cloned()
        .collect();
    let ca = Ca::resolve(name_or_url, key_type).map_err(|error| {
        let place = match of_certificate.filter(|c| c.ca.is_some()) {
            Some(certificate) => Place::value(["certificates", certificate.id.as_str(), "ca"]),
            None => Place::value(["ca"]),
        };
        match configured {
            Some(_) if named.is_none() => config
                .error_at(&place, error.to_string(), error.hint())
                .map_or_else(|| error.into(), CliError::Config),
            _ => CliError::Ca(error),
        }
    })?;
    let account = match args.account.as_deref().filter(|id| !id.is_empty()) {
        Some(id) => Some(id.parse()?),
        None => configured.and_then(|ca| ca.account.clone()),
    };
    Ok(NamedCa {
        account,
        ca,
        name_or_url: name_or_url.to_owned(),
        roots: match given_roots.is_empty() {
            true => configured.map_or_else(Vec::new, |ca| ca.roots.clone()),
            false => given_roots,
        },
        configured,
    })
}

/// `mailto:` URLs for the CA to write to.
pub(crate) fn contacts(args: &CaArgs, config: &Config) -> Vec<String> {
    let given: Vec<&String> = args.email.iter().filter(|e| !e.is_empty()).collect();
    let emails = match given.is_empty() {
        true => config.emails.iter().collect(),
        false => given,
    };
    emails.into_iter().map(|email| mailto(email)).collect()
}

/// An address as the URL that CAs want.
pub(crate) fn mailto(email: &str) -> String {
    match email.starts_with("mailto:") {
        true => email.to_owned(),
        false => format!("mailto:{email}"),
    }
}

fn external_account(
    args: &CaArgs,
    configured: Option<&config::Eab>,
) -> Result<Option<ExternalAccount>, CliError> {
    let kid = args
        .eab_kid
        .clone()
        .filter(|kid| !kid.is_empty())
        .or_else(|| env_vars::get(env_vars::EAB_KID))
        .or_else(|| env_vars::get(env_vars::ACME_EAB_KID))
        .or_else(|| configured.map(|eab| eab.kid.clone()));
    let key = hmac_key(args).or_else(|| configured.map(|eab| eab.hmac_key.clone()));
    match (kid, key) {
        (None, None) => Ok(None),
        (Some(kid), Some(key)) => {
            let key: SecretString = key.resolve().map_err(|source| CliError::Secret {
                what: "the HMAC key of the external account".to_owned(),
                source,
            })?;
            Ok(Some(ExternalAccount::parse(&kid, &key)?))
        }
        (Some(_), None) => Err(CliError::usage(
            "an external account has a key identifier and an HMAC key, and the HMAC key is missing",
            "give it with `--eab-hmac-key-file FILE` or ACME_EAB_HMAC_KEY",
        )),
        (None, Some(_)) => Err(CliError::usage(
            "an external account has a key identifier and an HMAC key, and the key identifier is missing",
            "give it with `--eab-kid KID` or ACME_EAB_KID",
        )),
    }
}

fn hmac_key(args: &CaArgs) -> Option<Secret> {
    let literal = |text: String| Secret::Literal(text.into());
    args.eab_hmac_key
        .clone()
        .map(literal)
        .or_else(|| args.eab_hmac_key_file.clone().map(Secret::File))
        .or_else(|| env_vars::get(env_vars::EAB_HMAC_KEY).map(literal))
        .or_else(|| {
            env_vars::get(env_vars::EAB_HMAC_KEY_FILE).map(|path| Secret::File(path.into()))
        })
        .or_else(|| env_vars::get(env_vars::ACME_EAB_HMAC_KEY).map(literal))
}

const DEFAULT: &str = "letsencrypt";

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config {
            ca: Some(config::Ca {
                account: Some("work".parse().unwrap()),
                name_or_url: "https://ca.test/dir".into(),
                roots: vec!["ca.pem".into()],
                eab: Some(config::Eab {
                    kid: "kid".into(),
                    hmac_key: Secret::Literal(
                        "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W".into(),
                    ),
                }),
            }),
            emails: vec!["ops@example.com".into()],
            ..Config::default()
        }
    }

    #[test]
    fn a_ca_keeps_its_roots_and_account_to_itself() {
        let chosen = ca(&CaArgs::default(), None, &config(), KeyType::default()).unwrap();
        assert_eq!(chosen.ca.url.as_str(), "https://ca.test/dir");
        assert_eq!(chosen.roots, [PathBuf::from("ca.pem")]);
        assert_eq!(chosen.external_account.unwrap().kid(), "kid");
        assert_eq!(chosen.account.unwrap().to_string(), "work");

        let args = CaArgs {
            ca: Some("letsencrypt-staging".into()),
            ..CaArgs::default()
        };
        let chosen = ca(&args, None, &config(), KeyType::default()).unwrap();
        assert!(chosen.roots.is_empty());
        assert!(chosen.external_account.is_none());
        assert_eq!(chosen.account, None);
    }

    #[test]
    fn half_an_external_account_is_refused() {
        let args = CaArgs {
            eab_kid: Some("kid".into()),
            ..CaArgs::default()
        };
        let error = ca(&args, None, &Config::default(), KeyType::default()).unwrap_err();
        assert!(
            error.to_string().contains("the HMAC key is missing"),
            "{error}"
        );
    }

    #[test]
    fn flags_beat_the_configured_address() {
        assert_eq!(
            contacts(&CaArgs::default(), &config()),
            ["mailto:ops@example.com"]
        );
        let args = CaArgs {
            email: vec!["a@b.test".into()],
            ..CaArgs::default()
        };
        assert_eq!(contacts(&args, &config()), ["mailto:a@b.test"]);
    }
}
