//! Which certificates to issue, and each with what.

use std::collections::BTreeSet;
use std::path::PathBuf;

use dnseal_core::acme::AccountKey;
use dnseal_core::acme::Ca;
use dnseal_core::dns::Identifier;
use dnseal_core::issue::KeyChoice;
use dnseal_core::issue::OtherCa;
use dnseal_core::issue::Renewing;
use dnseal_core::issue::Request;
use dnseal_core::issue::Terms;
use dnseal_core::issue::Timeouts;
use dnseal_core::renew::Policy;
use dnseal_core::renew::RenewBefore;
use dnseal_core::store::CertId;

use crate::args::IssueArgs;
use crate::config;
use crate::config::Config;
use crate::config::nearest;
use crate::config::parse_key_type;
use crate::error::CliError;
use crate::settings;
use crate::settings::Secrets;
use crate::settings::ca;
use crate::settings::ca::names as ca_names;
use crate::settings::recipe::recipe;
use crate::settings::spec;

/// One certificate to issue.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) request: Request,
    /// What to trust the CA's HTTPS through, beside the system's roots.
    pub(crate) roots: Vec<PathBuf>,
    /// The same for each of the request's other CAs.
    pub(crate) other_roots: Vec<Vec<PathBuf>>,
    /// Where a dry run goes, where somebody says so.
    pub(crate) staging: Option<Ca>,
    /// The key of its account at its first CA, where it is not the store that keeps it.
    pub(crate) account_key: Option<AccountKey>,
}

/// The certificates that the command line asks for, or all of the configuration where it names none.
pub(crate) fn orders(
    args: &IssueArgs,
    config: &Config,
    terms: &Terms,
) -> Result<Vec<Order>, CliError> {
    match chosen(args, config)? {
        Chosen::Names { id, names } => Ok(vec![order(args, config, terms, id, names, None)?]),
        Chosen::Configured(certificates) => certificates
            .into_iter()
            .map(|c| order(args, config, terms, c.id.clone(), c.names.clone(), Some(c)))
            .collect(),
    }
}

enum Chosen<'a> {
    /// Certificates of the configuration.
    Configured(Vec<&'a config::Certificate>),
    /// One certificate with these names.
    Names { id: CertId, names: Vec<Identifier> },
}

fn chosen<'a>(args: &IssueArgs, config: &'a Config) -> Result<Chosen<'a>, CliError> {
    if args.names.is_empty() && args.domains.is_empty() {
        if let (Some(csr), true) = (
            &args.spec.csr,
            args.name.is_none() || config.certificates.is_empty(),
        ) {
            let names = spec::csr_of(csr)?.names().to_vec();
            let id = match (&args.name, names.first()) {
                (Some(name), _) => name.parse()?,
                (None, first) => CertId::from(first.ok_or_else(no_names)?),
            };
            return Ok(Chosen::Names { id, names });
        }
        return match (config.certificates.is_empty(), &args.name) {
            (false, None) => Ok(Chosen::Configured(config.certificates.iter().collect())),
            (false, Some(name)) => {
                let id: CertId = name.parse()?;
                let certificate = config.certificate(&id).ok_or_else(|| {
                    CliError::usage(
                        format!(
                            "no names are given, and the configuration has no certificate {id}"
                        ),
                        "write the names behind `dnseal issue`",
                    )
                })?;
                Ok(Chosen::Configured(vec![certificate]))
            }
            (true, _) => Err(CliError::usage(
                "no names are given, and the configuration has no certificates",
                "write for example `dnseal issue example.com '*.example.com'`",
            )),
        };
    }
    if args.domains.is_empty() && args.name.is_none() {
        let configured: Option<Vec<&config::Certificate>> = args
            .names
            .iter()
            .map(|name| config.certificate(&exact_id(name)?))
            .collect();
        if let Some(mut configured) = configured {
            let mut seen = BTreeSet::new();
            configured.retain(|certificate| seen.insert(&certificate.id));
            return Ok(Chosen::Configured(configured));
        }
    }

    if args.domains.is_empty()
        && args.name.is_none()
        && let Some(error) = misspelt(&args.names, config)
    {
        return Err(error);
    }
    let mut names: Vec<Identifier> = Vec::new();
    for text in args.names.iter().chain(&args.domains) {
        let name: Identifier = text.trim().parse()?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let id = match (&args.name, names.first()) {
        (Some(name), _) => name.parse()?,
        (None, Some(first)) => CertId::from(first),
        (None, None) => return Err(no_names()),
    };
    if let Some(configured) = config.certificate(&id)
        && !configured.names.is_empty()
        && !same(&configured.names, &names)
    {
        return Err(CliError::usage(
            format!("the configuration has a certificate {id} with other names"),
            format!("`dnseal issue {id}` issues it as configured; `--name CERT` makes another one"),
        ));
    }
    Ok(Chosen::Names { id, names })
}

/// A word without a dot that is nearly the name of a configured certificate, and no name that a public CA knows.
fn misspelt(words: &[String], config: &Config) -> Option<CliError> {
    let known = config.certificates.iter().map(|c| c.id.as_str());
    let known: Vec<&str> = known.collect();
    words
        .iter()
        .filter(|word| !word.contains('.') && !known.contains(&word.as_str()))
        .find_map(|word| {
            let meant = nearest(word, known.iter().copied())?;
            Some(CliError::usage(
                format!("the configuration has no certificate {word}"),
                format!("did you mean `{meant}`? `-d {word}` orders it as a name"),
            ))
        })
}

fn no_names() -> CliError {
    CliError::usage(
        "no names are given",
        "write for example `dnseal issue example.com`",
    )
}

/// The certificate that a word names; a wildcard names none, because it is a name itself.
fn exact_id(word: &str) -> Option<CertId> {
    match word.contains('*') {
        true => None,
        false => word.parse().ok(),
    }
}

fn same(a: &[Identifier], b: &[Identifier]) -> bool {
    a.len() == b.len() && a.iter().all(|name| b.contains(name))
}

fn order(
    args: &IssueArgs,
    config: &Config,
    terms: &Terms,
    id: CertId,
    names: Vec<Identifier>,
    certificate: Option<&config::Certificate>,
) -> Result<Order, CliError> {
    let certificate = certificate.or_else(|| config.certificate(&id));
    let mut order = order_of(args, config, terms, id, names, certificate, Secrets::Read)?;
    let cas = ca_names(&args.ca, certificate, config);
    order.request.renewal.recipe = Some(recipe(args, config, &cas)?);
    Ok(order)
}

/// What `args` and configuration say about one certificate; without secrets it is good for looking at only.
pub(crate) fn order_of(
    args: &IssueArgs,
    config: &Config,
    terms: &Terms,
    id: CertId,
    names: Vec<Identifier>,
    certificate: Option<&config::Certificate>,
    secrets: Secrets,
) -> Result<Order, CliError> {
    let mut options = spec::options(&args.spec, certificate, config)?;
    let key_type = match args.key_type.as_deref().filter(|k| !k.is_empty()) {
        Some(text) => parse_key_type(text)
            .map_err(|hint| CliError::usage(format!("there is no key type `{text}`"), hint))?,
        None => certificate
            .and_then(|c| c.key_type)
            .or(options.key.key_type())
            .or(config.key_type)
            .unwrap_or_default(),
    };
    let (profile, preferred_profile) =
        spec::profiles(args.profile.as_ref(), &args.spec, certificate, config);
    options.preferred_profile = preferred_profile;
    let names = match &options.key {
        KeyChoice::Csr(csr) if names.is_empty() => csr.names().to_vec(),
        _ => names,
    };
    let before = match args.renew_before.as_deref().filter(|b| !b.is_empty()) {
        Some(text) => Some(text.parse::<RenewBefore>().map_err(|error| {
            CliError::usage(error.to_string(), "write for example `--renew-before 1/3`")
        })?),
        None => certificate
            .and_then(|c| c.renew_before)
            .or(config.renew_before),
    };
    let chosen = ca(&args.ca, certificate, config, key_type, secrets)?;
    let others = settings::other_cas(&args.ca, certificate, config, key_type, secrets)?;
    let mut other_roots = Vec::new();
    for other in others {
        other_roots.push(other.roots);
        options.other_cas.push(OtherCa {
            ca: other.ca,
            account: other.account,
            external_account: other.external_account,
            transport: None,
        });
    }
    Ok(Order {
        roots: chosen.roots,
        other_roots,
        staging: chosen.staging,
        account_key: chosen.account_key,
        request: Request {
            id,
            names,
            ca: chosen.ca,
            account: chosen.account,
            contacts: settings::contacts(&args.ca, config),
            terms: terms.clone(),
            external_account: chosen.external_account,
            key_type,
            profile,
            replace_names: args.replace_names,
            force: args.force,
            timeouts: Timeouts::default(),
            options,
            renewal: Renewing {
                policy: Policy { before },
                lasting: certificate.is_some(),
                ..Renewing::default()
            },
            transport: None,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use crate::args::Command;
    use clap::Parser;
    use dnseal_core::acme::KeyType;

    const CONFIG: &str = "
ca: https://ca.test/dir
certificates:
  a.test: { names: [a.test, '*.a.test'], key-type: rsa-2048 }
  b.test: { names: [b.test] }
";

    fn asked(words: &[&str], config: &str) -> Result<Vec<Request>, CliError> {
        let config = Config::of(config).unwrap();
        let cli = Cli::try_parse_from(["dnseal", "issue"].iter().chain(words)).unwrap();
        let Command::Issue(args) = cli.command else {
            panic!("{cli:?}")
        };
        let orders = orders(&args, &config, &Terms::NotAgreed)?;
        Ok(orders.into_iter().map(|o| o.request).collect())
    }

    fn ids(words: &[&str]) -> Vec<String> {
        let requests = asked(words, CONFIG).unwrap();
        requests.iter().map(|r| r.id.to_string()).collect()
    }

    #[test]
    fn names_of_certificates_and_names_in_certificates() {
        assert_eq!(ids(&[]), ["a.test", "b.test"]);
        assert_eq!(ids(&["b.test"]), ["b.test"]);
        assert_eq!(ids(&["b.test", "a.test", "b.test"]), ["b.test", "a.test"]);
        assert_eq!(ids(&["c.test", "b.test"]), ["c.test"]);
        assert_eq!(ids(&["-d", "b.test", "--name", "other"]), ["other"]);

        let configured = asked(&["a.test"], CONFIG).unwrap();
        assert_eq!(configured[0].names.len(), 2);
        assert_eq!(configured[0].key_type, KeyType::Rsa2048);
        let error = asked(&["-d", "a.test"], CONFIG).unwrap_err();
        assert!(error.to_string().contains("with other names"), "{error}");
        assert!(asked(&[], "").is_err());
    }

    #[test]
    fn names_are_merged_and_checked() {
        let words = ["A.test", "-d", "*.a.test,a.test"];
        let requests = asked(&words, "").unwrap();
        let names: Vec<String> = requests[0].names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a.test", "*.a.test"]);
        for bad in ["*.*.example.com", "a.*.com", "192.0.2.1", "a..test", "::1"] {
            let error = asked(&[bad], "").unwrap_err();
            assert!(matches!(error, CliError::Name(_)), "{bad}: {error}");
        }
        let error = asked(&["a.test", "--name", "../x"], "").unwrap_err();
        assert!(matches!(error, CliError::CertId(_)), "{error}");
    }

    #[test]
    fn a_certificate_that_is_nearly_called_so_is_no_name() {
        let text = "certificates: { three: { names: [a.test] }, hooks: { names: [b.test] } }";
        let config = Config::of(text).unwrap();
        let misspelt = |word: &str| misspelt(&[word.to_owned()], &config);
        let hint = misspelt("thre").unwrap().hint().unwrap();
        assert_eq!(hint, "did you mean `three`? `-d thre` orders it as a name");
        for word in ["three", "localhost", "thre.test"] {
            assert!(misspelt(word).is_none(), "{word}");
        }
    }
}
