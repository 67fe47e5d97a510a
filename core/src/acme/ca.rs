//! The CAs that have a name here, and what is special about each.
//!
//! A name or any `https` URL becomes a [`Ca`]: where its directory is, whether it wants an external account binding,
//! and what it refuses that others take. A URL of a CA that we know is treated like its name.

use std::fmt;
use std::net::IpAddr;

use url::Host;
use url::Url;

use super::key::KeyType;

/// Where certificates come from.
#[derive(Clone, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub struct Ca {
    /// Its directory.
    pub url: Url,
    /// Its name, where we know it.
    pub known: Option<KnownCa>,
    /// Where it gives the credentials of an external account for an e-mail address.
    pub eab_by_email: Option<Url>,
    /// What somebody should know before ordering.
    pub warning: Option<String>,
}

impl Ca {
    /// Finds a CA by one of the names of [`KnownCa`], or by the URL of its directory.
    pub fn resolve(name_or_url: &str, key_type: KeyType) -> Result<Self, CaError> {
        let text = name_or_url.trim();
        let by_name = KnownCa::ALL
            .into_iter()
            .find(|ca| text.eq_ignore_ascii_case(ca.name()));
        if let Some(known) = by_name {
            return match known.directory(key_type) {
                Some(url) => Ok(Self {
                    url: parse(url)?,
                    known: Some(known),
                    eab_by_email: known.eab_by_email(),
                    warning: None,
                }),
                None => Err(CaError::Buypass),
            };
        }
        if !text.contains("://") {
            return Err(CaError::Unknown(text.to_owned()));
        }

        let url = parse(text)?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(CaError::Credentials {
                host: url.host_str().unwrap_or_default().to_owned(),
            });
        }
        match url.scheme() {
            "https" => {}
            "http" => {
                return Err(CaError::Http {
                    url: text.to_owned(),
                    local: is_loopback(&url),
                });
            }
            _ => return Err(CaError::Scheme(text.to_owned())),
        }
        let known = KnownCa::at(&url);
        if known == Some(KnownCa::Buypass) {
            return Err(CaError::Buypass);
        }
        let warning = (known == Some(KnownCa::SslCom))
            .then(|| ssl_com_mismatch(&url, key_type))
            .flatten();
        Ok(Self {
            url,
            eab_by_email: known.and_then(KnownCa::eab_by_email),
            known,
            warning,
        })
    }

    /// Where the same CA issues certificates that nobody trusts, as far as we know it: for trying things out.
    pub fn staging(&self) -> Option<Self> {
        let known = match self.known? {
            KnownCa::Google | KnownCa::GoogleStaging => KnownCa::GoogleStaging,
            KnownCa::LetsEncrypt | KnownCa::LetsEncryptStaging => KnownCa::LetsEncryptStaging,
            KnownCa::Actalis | KnownCa::Buypass | KnownCa::SslCom | KnownCa::ZeroSsl => {
                return None;
            }
        };
        Self::resolve(known.name(), KeyType::default()).ok()
    }

    /// What to call it.
    pub fn name(&self) -> String {
        match self.known {
            Some(known) => known.to_string(),
            None => crate::web::host(self.url.as_str()),
        }
    }

    /// Whether it refuses a wildcard beside a name that the wildcard covers.
    pub fn refuses_redundant_names(&self) -> bool {
        matches!(
            self.known,
            Some(KnownCa::LetsEncrypt | KnownCa::LetsEncryptStaging)
        )
    }

    /// Whether it refuses certificates that demand stapling, because it answers no OCSP any more.
    pub fn refuses_must_staple(&self) -> bool {
        // Let's Encrypt: since 2025-05-07.
        self.refuses_redundant_names()
    }

    /// How to get an external account binding, where the CA wants one.
    pub fn external_account_hint(&self) -> Option<&'static str> {
        self.known?.external_account_hint()
    }
}

/// A CA with a name of its own.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
#[non_exhaustive]
pub enum KnownCa {
    /// Actalis.
    Actalis,
    /// Buypass, which has ended.
    Buypass,
    /// Google Trust Services.
    Google,
    /// Google Trust Services, certificates that nobody trusts.
    GoogleStaging,
    /// Let's Encrypt.
    LetsEncrypt,
    /// Let's Encrypt, certificates that nobody trusts.
    LetsEncryptStaging,
    /// SSL.com.
    SslCom,
    /// ZeroSSL.
    ZeroSsl,
}

impl KnownCa {
    /// Every one, for lists and completion.
    pub const ALL: [Self; 8] = [
        Self::LetsEncrypt,
        Self::LetsEncryptStaging,
        Self::Google,
        Self::GoogleStaging,
        Self::ZeroSsl,
        Self::SslCom,
        Self::Actalis,
        Self::Buypass,
    ];

    /// Its name in configuration and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Actalis => "actalis",
            Self::Buypass => "buypass",
            Self::Google => "google",
            Self::GoogleStaging => "google-staging",
            Self::LetsEncrypt => "letsencrypt",
            Self::LetsEncryptStaging => "letsencrypt-staging",
            Self::SslCom => "sslcom",
            Self::ZeroSsl => "zerossl",
        }
    }

    /// Its directory for a key of that type; nothing where the service has ended.
    pub fn directory(self, key_type: KeyType) -> Option<&'static str> {
        Some(match self {
            Self::Actalis => "https://acme-api.actalis.com/acme/directory",
            Self::Buypass => return None,
            Self::Google => "https://dv.acme-v02.api.pki.goog/directory",
            Self::GoogleStaging => "https://dv.acme-v02.test-api.pki.goog/directory",
            Self::LetsEncrypt => "https://acme-v02.api.letsencrypt.org/directory",
            Self::LetsEncryptStaging => "https://acme-staging-v02.api.letsencrypt.org/directory",
            Self::SslCom => match key_type.is_rsa() {
                true => "https://acme.ssl.com/sslcom-dv-rsa",
                false => "https://acme.ssl.com/sslcom-dv-ecc",
            },
            Self::ZeroSsl => "https://acme.zerossl.com/v2/DV90",
        })
    }

    fn external_account_hint(self) -> Option<&'static str> {
        Some(match self {
            Self::Actalis => "get key id and HMAC key from your account at https://www.actalis.com",
            Self::Google | Self::GoogleStaging => {
                "get a pair with `gcloud publicca external-account-keys create`; it serves one account and lapses after 7 days"
            }
            Self::SslCom => {
                "get account key and HMAC key from the API credentials page at https://secure.ssl.com"
            }
            Self::ZeroSsl => {
                "give `--email`, and a pair is fetched for it, or get one from https://app.zerossl.com/developer"
            }
            Self::Buypass | Self::LetsEncrypt | Self::LetsEncryptStaging => return None,
        })
    }

    fn eab_by_email(self) -> Option<Url> {
        match self {
            Self::ZeroSsl => Url::parse(ZEROSSL_EAB).ok(),
            _ => None,
        }
    }

    /// Whose server it is.
    fn at(url: &Url) -> Option<Self> {
        let host = url.host_str()?;
        let by_directory = |ca: &Self| {
            let directory = ca.directory(KeyType::default());
            directory
                .and_then(|d| Url::parse(d).ok())
                .is_some_and(|d| d.host_str() == Some(host))
        };
        match host == "buypass.com" || host.ends_with(".buypass.com") {
            true => Some(Self::Buypass),
            false => Self::ALL.into_iter().find(by_directory),
        }
    }
}

impl fmt::Display for KnownCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Actalis => "Actalis",
            Self::Buypass => "Buypass",
            Self::Google => "Google Trust Services",
            Self::GoogleStaging => "Google Trust Services (staging)",
            Self::LetsEncrypt => "Let's Encrypt",
            Self::LetsEncryptStaging => "Let's Encrypt (staging)",
            Self::SslCom => "SSL.com",
            Self::ZeroSsl => "ZeroSSL",
        })
    }
}

/// Why a text names no CA.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum CaError {
    /// The service is no more.
    #[error("Buypass has ended its ACME service: its last certificates were issued on 2025-10-31")]
    Buypass,
    /// A user name or a password in the URL, which would be stored and shown wherever the directory is.
    #[error(
        "the URL of the CA at {host} holds a user name or a password, which ACME has no use for"
    )]
    Credentials {
        /// The host.
        host: String,
    },
    /// Not encrypted.
    #[error("{url} is not an https URL, and ACME is spoken over HTTPS only (RFC 8555 section 6.1)")]
    Http {
        /// What was given.
        url: String,
        /// Whether it is on this machine.
        local: bool,
    },
    /// Neither https nor http.
    #[error("{0} is not an https URL")]
    Scheme(String),
    /// Neither a name nor a URL.
    #[error("`{0}` is neither a CA that dnseal knows nor a URL")]
    Unknown(String),
    /// Not a URL.
    #[error("`{url}` is no URL: {detail}")]
    Url {
        /// What was given.
        url: String,
        /// What is wrong with it.
        detail: String,
    },
}

impl CaError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Buypass => Some("choose another CA, such as `letsencrypt`".to_owned()),
            Self::Credentials { .. } => Some(
                "leave out what stands before `@`; an account is bound with `--eab-kid` and `--eab-hmac-key-file`"
                    .to_owned(),
            ),
            Self::Http { url, local } => {
                let https = url.replacen("http", "https", 1);
                Some(match local {
                    true => format!("use {https}, with `--ca-root FILE` for its root certificate"),
                    false => format!("use {https}"),
                })
            }
            Self::Scheme(_) | Self::Unknown(_) | Self::Url { .. } => {
                let names: Vec<_> = KnownCa::ALL
                    .into_iter()
                    .filter(|ca| *ca != KnownCa::Buypass)
                    .map(KnownCa::name)
                    .collect();
                Some(format!(
                    "give the URL of an ACME directory, or one of {}",
                    names.join(", ")
                ))
            }
        }
    }
}

fn parse(text: &str) -> Result<Url, CaError> {
    let failed = |detail: String| CaError::Url {
        url: text.to_owned(),
        detail,
    };
    let url = Url::parse(text).map_err(|e| failed(e.to_string()))?;
    match url.has_host() {
        true => Ok(url),
        false => Err(failed("it names no server".to_owned())),
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(address)) => IpAddr::V4(address).is_loopback(),
        Some(Host::Ipv6(address)) => IpAddr::V6(address).is_loopback(),
        None => false,
    }
}

/// SSL.com has one directory for each kind of key, and fails at finalization when they do not fit.
fn ssl_com_mismatch(url: &Url, key_type: KeyType) -> Option<String> {
    let path = url.path().to_ascii_lowercase();
    let fits = match key_type.is_rsa() {
        true => !path.ends_with("-ecc"),
        false => !path.ends_with("-rsa"),
    };
    let right = KnownCa::SslCom.directory(key_type)?;
    (!fits).then(|| {
        format!(
            "{url} is SSL.com's directory for the other kind of key; for {key_type} it is {right}"
        )
    })
}

/// ZeroSSL's own form, beside ACME.
const ZEROSSL_EAB: &str = "https://api.zerossl.com/acme/eab-credentials-email";

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(text: &str) -> Result<Ca, CaError> {
        Ca::resolve(text, KeyType::EcdsaP256)
    }

    #[test]
    fn a_url_with_credentials_is_refused_and_not_shown() {
        for url in [
            "https://user:canary@ca.example/dir",
            "https://canary@ca.example/dir",
        ] {
            let error = Ca::resolve(url, KeyType::EcdsaP256).unwrap_err();
            let text = format!("{error} {error:?} {}", error.hint().unwrap());
            assert!(!text.contains("canary"), "{text}");
        }
    }

    #[test]
    fn names_and_urls() {
        for known in KnownCa::ALL {
            let Some(directory) = known.directory(KeyType::EcdsaP256) else {
                assert_eq!(resolve(known.name()), Err(CaError::Buypass));
                continue;
            };
            let by_name = resolve(known.name()).unwrap();
            assert_eq!(by_name.url.as_str(), directory);
            assert_eq!(resolve(directory).unwrap(), by_name);
            assert_eq!(
                by_name.external_account_hint().is_some(),
                !by_name.refuses_redundant_names(),
                "{known}"
            );
        }
        let own = resolve("https://127.0.0.1:14000/dir").unwrap();
        assert_eq!(own.name(), "127.0.0.1:14000");
        assert!(!own.refuses_redundant_names());
        assert!(resolve("LetsEncrypt").unwrap().refuses_redundant_names());
    }

    #[test]
    fn ssl_com_has_a_directory_for_each_kind_of_key() {
        let rsa = Ca::resolve("sslcom", KeyType::Rsa2048).unwrap();
        assert_eq!(rsa.url.as_str(), "https://acme.ssl.com/sslcom-dv-rsa");
        assert_eq!(rsa.warning, None);
        let wrong = resolve("https://acme.ssl.com/sslcom-dv-rsa").unwrap();
        assert!(wrong.warning.unwrap().contains("sslcom-dv-ecc"));
        let right = resolve("https://acme.ssl.com/sslcom-dv-ecc").unwrap();
        assert_eq!(right.warning, None);
    }

    #[test]
    fn what_is_no_ca_says_why() {
        let hint = |text| resolve(text).unwrap_err().hint().unwrap();
        assert!(hint("letsencript").contains("letsencrypt"));
        assert!(hint("http://127.0.0.1:14000/dir").contains("https://127.0.0.1:14000/dir"));
        assert!(hint("http://127.0.0.1:14000/dir").contains("--ca-root"));
        assert!(matches!(
            resolve("http://ca.example/dir"),
            Err(CaError::Http { local: false, .. })
        ));
        assert!(matches!(
            resolve("ftp://ca.example/dir"),
            Err(CaError::Scheme(_))
        ));
        assert!(matches!(resolve("https://"), Err(CaError::Url { .. })));
        assert_eq!(
            resolve("https://api.buypass.com/acme/directory"),
            Err(CaError::Buypass)
        );
    }
}
