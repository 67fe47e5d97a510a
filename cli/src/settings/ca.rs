//! Which CA, and as whom.

use std::path::PathBuf;

use dnseal_core::acme::AccountKey;
use dnseal_core::acme::Ca;
use dnseal_core::acme::ExternalAccount;
use dnseal_core::acme::KeyType;
use dnseal_core::acme::SigningKey;
use dnseal_core::issue::CaaPolicy;
use dnseal_core::store::AccountId;
use secrecy::ExposeSecret;
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
    /// The key of the account there, where it is not the store that keeps it.
    pub(crate) account_key: Option<AccountKey>,
    pub(crate) ca: Ca,
    pub(crate) roots: Vec<PathBuf>,
    pub(crate) external_account: Option<ExternalAccount>,
    /// Where a dry run goes, where somebody says so.
    pub(crate) staging: Option<Ca>,
}

/// The CA that flags and environment name, else the certificate's own, else the configuration's, else Let's Encrypt.
///
/// What the configuration says about a CA, its roots and its external account, goes only with that CA.
pub(crate) fn ca(
    args: &CaArgs,
    of_certificate: Option<&config::Certificate>,
    config: &Config,
    key_type: KeyType,
    secrets: Secrets,
) -> Result<ChosenCa, CliError> {
    if let Some(text) = args.ca.as_deref().filter(|text| !text.is_empty())
        && text.split(',').all(|ca| ca.trim().is_empty())
    {
        return Err(CliError::usage(
            format!("`{text}` names no CA"),
            "write a name such as letsencrypt, or the URL of a directory",
        ));
    }
    let wanted = wanted(args, of_certificate, config);
    let first = wanted.into_iter().next().unwrap_or(WantedCa {
        configured: None,
        name_or_url: DEFAULT,
        named: false,
    });
    let external_account = match secrets {
        Secrets::Leave => None,
        Secrets::Read => external_account(args, first.configured.and_then(|ca| ca.eab.as_ref()))?,
    };
    let mut chosen = choose(
        &first,
        external_account,
        args,
        of_certificate,
        config,
        key_type,
    )?;
    if let Some(id) = args.account.as_deref().filter(|id| !id.is_empty()) {
        chosen.account = Some(id.parse()?);
    }
    if secrets == Secrets::Read {
        chosen.account_key = account_key()?;
    }
    Ok(chosen)
}

/// The key that the environment has for the account at the first CA; nothing writes it down.
pub(crate) fn account_key() -> Result<Option<AccountKey>, CliError> {
    let (variable, text) = match env_vars::get(env_vars::ACCOUNT_KEY) {
        Some(text) => (env_vars::ACCOUNT_KEY, SecretString::from(text)),
        None => match env_vars::get(env_vars::ACCOUNT_KEY_FILE) {
            Some(path) => {
                let secret = Secret::File(path.into()).resolve();
                let text = secret.map_err(|source| CliError::Secret {
                    what: "the account".to_owned(),
                    source,
                })?;
                (env_vars::ACCOUNT_KEY_FILE, text)
            }
            None => return Ok(None),
        },
    };
    let key = SigningKey::parse(&with_lines(text)).map_err(|error| {
        CliError::usage(
            format!("{variable} holds no key of an account: {error}"),
            "`dnseal account export` prints one where the account is, `openssl genpkey -algorithm EC \
             -pkeyopt ec_paramgen_curve:P-256` makes one for a new account",
        )
    })?;
    match key.to_account_key() {
        Some(key) => Ok(Some(key)),
        None => Err(CliError::usage(
            format!(
                "{variable} holds a key of the kind {}, and dnseal signs for accounts with ECDSA P-256",
                key.kind()
            ),
            "`dnseal account import FILE` gives its account such a key, and `dnseal account export` prints that one",
        )),
    }
}

/// PEM whose line ends were written as `\n`, because the place it was pasted into takes one line only.
fn with_lines(text: SecretString) -> SecretString {
    let is_pem = text.expose_secret().trim_start().starts_with("-----BEGIN");
    match is_pem && !text.expose_secret().trim().contains('\n') {
        true => text.expose_secret().replace("\\n", "\n").into(),
        false => text,
    }
}

/// The CAs to ask where the first cannot issue, in order.
///
/// An account, and an external account, of flags and variables goes with the first.
pub(crate) fn other_cas(
    args: &CaArgs,
    of_certificate: Option<&config::Certificate>,
    config: &Config,
    key_type: KeyType,
    secrets: Secrets,
) -> Result<Vec<ChosenCa>, CliError> {
    wanted(args, of_certificate, config)
        .iter()
        .skip(1)
        .map(|other| {
            let eab = other.configured.and_then(|ca| ca.eab.as_ref());
            let external_account = match eab.filter(|_| secrets == Secrets::Read) {
                Some(eab) => Some(ExternalAccount::parse(&eab.kid, &resolved(&eab.hmac_key)?)?),
                None => None,
            };
            choose(
                other,
                external_account,
                args,
                of_certificate,
                config,
                key_type,
            )
        })
        .collect()
}

/// Whether secrets are wanted as well; who only looks reads none.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Secrets {
    Leave,
    Read,
}

/// The CAs that are wanted, as `--ca` would name them.
pub(super) fn names(
    args: &CaArgs,
    of_certificate: Option<&config::Certificate>,
    config: &Config,
) -> String {
    let wanted = wanted(args, of_certificate, config);
    let names: Vec<&str> = wanted.iter().map(|ca| ca.name_or_url).collect();
    match names.is_empty() {
        true => DEFAULT.to_owned(),
        false => names.join(","),
    }
}

/// One of the CAs that are wanted.
struct WantedCa<'a> {
    /// What the configuration says of it.
    configured: Option<&'a config::Ca>,
    name_or_url: &'a str,
    /// Whether a flag or a variable says so.
    named: bool,
}

fn wanted<'a>(
    args: &'a CaArgs,
    of_certificate: Option<&'a config::Certificate>,
    config: &'a Config,
) -> Vec<WantedCa<'a>> {
    let own = of_certificate.filter(|certificate| certificate.ca.is_some());
    let configured: Vec<&config::Ca> = match own {
        Some(certificate) => certificate
            .ca
            .iter()
            .chain(&certificate.other_cas)
            .collect(),
        None => config.ca.iter().chain(&config.other_cas).collect(),
    };
    let named: Vec<&str> = args
        .ca
        .iter()
        .flat_map(|cas| cas.split(','))
        .map(str::trim)
        .filter(|ca| !ca.is_empty())
        .collect();
    if named.is_empty() {
        return configured
            .into_iter()
            .map(|ca| WantedCa {
                configured: Some(ca),
                name_or_url: &ca.name_or_url,
                named: false,
            })
            .collect();
    }
    named
        .into_iter()
        .map(|name_or_url| WantedCa {
            configured: configured
                .iter()
                .copied()
                .find(|ca| ca.name_or_url == name_or_url),
            name_or_url,
            named: true,
        })
        .collect()
}

fn choose(
    wanted: &WantedCa<'_>,
    external_account: Option<ExternalAccount>,
    args: &CaArgs,
    of_certificate: Option<&config::Certificate>,
    config: &Config,
    key_type: KeyType,
) -> Result<ChosenCa, CliError> {
    let given_roots: Vec<PathBuf> = args
        .ca_root
        .iter()
        .filter(|path| !path.as_os_str().is_empty())
        .cloned()
        .collect();
    let ca = Ca::resolve(wanted.name_or_url, key_type).map_err(|error| {
        let place = match of_certificate.filter(|c| c.ca.is_some()) {
            Some(certificate) => Place::value(["certificates", certificate.id.as_str(), "ca"]),
            None => Place::value(["ca"]),
        };
        match wanted.configured {
            Some(_) if !wanted.named => config
                .error_at(&place, error.to_string(), error.hint())
                .map_or_else(|| error.into(), CliError::Config),
            _ => CliError::Ca(error),
        }
    })?;
    let staging = args.staging.as_deref().filter(|ca| !ca.is_empty());
    let staging = staging.or(wanted.configured.and_then(|ca| ca.staging.as_deref()));
    Ok(ChosenCa {
        staging: staging.map(|ca| Ca::resolve(ca, key_type)).transpose()?,
        account: wanted.configured.and_then(|ca| ca.account.clone()),
        account_key: None,
        ca,
        roots: {
            // A proxy that reads along has a root of its own, beside the CA's.
            let configured = wanted.configured.iter().flat_map(|ca| ca.roots.clone());
            given_roots.into_iter().chain(configured).collect()
        },
        external_account,
    })
}

/// When CAA records stop an order: flag and environment before the configuration.
pub(crate) fn caa(args: &CaArgs, config: &Config) -> Result<CaaPolicy, CliError> {
    let Some(given) = args.caa.as_deref().filter(|text| !text.is_empty()) else {
        return Ok(config.caa.unwrap_or_default());
    };
    match given {
        "enforce" => Ok(CaaPolicy::Enforce),
        "off" => Ok(CaaPolicy::Off),
        "warn" => Ok(CaaPolicy::Warn),
        _ => Err(CliError::usage(
            format!("`{given}` does not fit --caa"),
            match config::nearest(given, ["enforce", "warn", "off"]) {
                Some(near) => format!("did you mean `{near}`?"),
                None => "there is enforce, warn, off".to_owned(),
            },
        )),
    }
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
        (Some(kid), Some(key)) => Ok(Some(ExternalAccount::parse(&kid, &resolved(&key)?)?)),
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

fn resolved(key: &Secret) -> Result<SecretString, CliError> {
    key.resolve().map_err(|source| CliError::Secret {
        what: "the HMAC key of the external account".to_owned(),
        source,
    })
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
                staging: None,
            }),
            emails: vec!["ops@example.com".into()],
            ..Config::default()
        }
    }

    #[test]
    fn a_ca_keeps_its_roots_and_account_to_itself() {
        let chosen = ca(
            &CaArgs::default(),
            None,
            &config(),
            KeyType::default(),
            Secrets::Read,
        )
        .unwrap();
        assert_eq!(chosen.ca.url.as_str(), "https://ca.test/dir");
        assert_eq!(chosen.roots, [PathBuf::from("ca.pem")]);
        assert_eq!(chosen.external_account.unwrap().kid(), "kid");
        assert_eq!(chosen.account.unwrap().to_string(), "work");

        let args = CaArgs {
            ca_root: vec!["proxy.pem".into()],
            ..CaArgs::default()
        };
        let chosen = ca(&args, None, &config(), KeyType::default(), Secrets::Read).unwrap();
        assert_eq!(
            chosen.roots,
            [PathBuf::from("proxy.pem"), PathBuf::from("ca.pem")]
        );

        let args = CaArgs {
            ca: Some("letsencrypt-staging".into()),
            ..CaArgs::default()
        };
        let chosen = ca(&args, None, &config(), KeyType::default(), Secrets::Read).unwrap();
        assert!(chosen.roots.is_empty());
        assert!(chosen.external_account.is_none());
        assert_eq!(chosen.account, None);
    }

    #[test]
    fn several_cas_keep_their_order_and_what_is_theirs() {
        let args = CaArgs {
            ca: Some("letsencrypt, https://ca.test/dir".into()),
            ..CaArgs::default()
        };
        let first = ca(&args, None, &config(), KeyType::default(), Secrets::Read).unwrap();
        assert!(first.ca.known.is_some() && first.roots.is_empty());
        let others = other_cas(&args, None, &config(), KeyType::default(), Secrets::Read).unwrap();
        assert_eq!(others.len(), 1);
        assert_eq!(others[0].ca.url.as_str(), "https://ca.test/dir");
        assert_eq!(others[0].roots, [PathBuf::from("ca.pem")]);
        assert_eq!(others[0].external_account.as_ref().unwrap().kid(), "kid");
        assert!(
            other_cas(
                &CaArgs::default(),
                None,
                &config(),
                KeyType::default(),
                Secrets::Read
            )
            .unwrap()
            .is_empty()
        );
    }

    #[test]
    fn half_an_external_account_is_refused() {
        let args = CaArgs {
            eab_kid: Some("kid".into()),
            ..CaArgs::default()
        };
        let error = ca(
            &args,
            None,
            &Config::default(),
            KeyType::default(),
            Secrets::Read,
        )
        .unwrap_err();
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
