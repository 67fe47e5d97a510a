//! What the provider can be told.
//!
//! The names of the environment variables are those of lego and of Cloudflare's own tools, so that nothing needs to change for
//! their users. A token comes first; e-mail address and global key are for accounts that have nothing else.

use std::sync::Arc;
use std::time::Duration;

use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::WriteSafety;
use secrecy::ExposeSecret;
use secrecy::SecretString;
use url::Url;

use crate::cloudflare::Cloudflare;
use crate::cloudflare::api::Api;
use crate::cloudflare::api::Credential;
use crate::cloudflare::api::DEFAULT_BASE;
use crate::cloudflare::zones::Configured;
use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::settings::Checked;
use crate::settings::SettingsError;

/// What there is to know about the provider.
pub(crate) const KIND: Kind = Kind {
    docs: "https://developers.cloudflare.com/api/resources/dns/subresources/records/",
    integration: Integration::Native,
    kind: "cloudflare",
    permissions: PERMISSIONS,
    settings: &[
        Setting {
            aliases: &["api-token"],
            default: None,
            env: &[
                "CLOUDFLARE_DNS_API_TOKEN",
                "CF_DNS_API_TOKEN",
                "CLOUDFLARE_API_TOKEN",
                "CF_API_TOKEN",
            ],
            form: Form::Secret,
            help: "An API token with Zone → DNS → Edit for the zones",
            key: TOKEN,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["CLOUDFLARE_ZONE_API_TOKEN", "CF_ZONE_API_TOKEN"],
            form: Form::Secret,
            help: "Another token, with Zone → Zone → Read, to find the zones with; where it is not given, `token` is used",
            key: ZONE_TOKEN,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["CLOUDFLARE_EMAIL", "CF_API_EMAIL"],
            form: Form::Text,
            help: "The e-mail address of the user that the global key belongs to; not used beside `token`",
            key: EMAIL,
            required: false,
        },
        Setting {
            aliases: &["api-key"],
            default: None,
            env: &["CLOUDFLARE_API_KEY", "CF_API_KEY"],
            form: Form::Secret,
            help: "The global API key, which may do everything; better make a token",
            key: KEY,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["CLOUDFLARE_ZONE_ID", "CF_ZONE_ID"],
            form: Form::Text,
            help: "The id of the zone, or `NAME=ID` for several; then the token needs no Zone → Zone → Read",
            key: ZONE_ID,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &[],
            form: Form::Text,
            help: "The id of the zone with this name, such as `zone-ids.example.com`",
            key: ZONE_IDS,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some(DEFAULT_BASE),
            env: &["CLOUDFLARE_BASE_URL"],
            form: Form::Text,
            help: "Where the API is",
            key: BASE_URL,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("60"),
            env: &["CLOUDFLARE_TTL"],
            form: Form::Number,
            help: "The TTL of challenge values in seconds: 60 to 86400, in Enterprise zones from 30",
            key: TTL,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("30s"),
            env: &["CLOUDFLARE_HTTP_TIMEOUT"],
            form: Form::Duration,
            help: "How long to wait for an answer",
            key: TIMEOUT,
            required: false,
        },
    ],
    title: "Cloudflare DNS",
    write_safety: WriteSafety::PerValue,

    build,
};

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let ttl = settings.number(TTL)?.unwrap_or(DEFAULT_TTL);
    if !(LEAST_TTL..=MOST_TTL).contains(&ttl) {
        let problem = format!("{ttl} is not from {LEAST_TTL} to {MOST_TTL}");
        return Err(SettingsError::malformed(TTL, problem));
    }
    let base = base_url(settings)?;
    let timeout = settings.duration(TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT);
    let api = |credential| Arc::new(Api::new(base.clone(), credential, timeout, context.clone()));
    let records = api(credential(settings)?);
    let zones = match token(settings, ZONE_TOKEN)? {
        Some(token) => api(token),
        None => records.clone(),
    };
    Ok(Arc::new(Cloudflare::new(
        records,
        zones,
        configured(settings)?,
        ttl,
    )))
}

fn credential(settings: &Checked) -> Result<Credential, SettingsError> {
    if let Some(token) = token(settings, TOKEN)? {
        return Ok(token);
    }
    let email = settings.text(EMAIL);
    let key = trimmed(settings, KEY);
    match (email, key) {
        (Some(email), Some(key)) => well_formed(
            Credential::Key {
                email: email.to_owned(),
                key,
            },
            KEY,
        ),
        (None, None) => Err(settings.missing(TOKEN)),
        (None, Some(_)) => Err(settings.missing(EMAIL)),
        (Some(_), None) => Err(settings.missing(KEY)),
    }
}

fn token(settings: &Checked, key: &'static str) -> Result<Option<Credential>, SettingsError> {
    trimmed(settings, key)
        .map(|token| well_formed(Credential::Token(token), key))
        .transpose()
}

fn trimmed(settings: &Checked, key: &str) -> Option<SecretString> {
    settings
        .secret(key)
        .map(|secret| SecretString::from(secret.expose_secret().trim()))
        .filter(|secret| !secret.expose_secret().is_empty())
}

/// Refuses what can be no token and no key, before anybody is sent anything.
fn well_formed(credential: Credential, key: &'static str) -> Result<Credential, SettingsError> {
    let secret = credential.secret();
    let odd = secret
        .chars()
        .any(|c| !c.is_ascii_graphic() || matches!(c, '"' | '\''));
    let problem = match () {
        () if secret.to_ascii_lowercase().starts_with("bearer") => {
            Some("it begins with `Bearer`, which is no part of it")
        }
        () if odd => Some("it has characters in it that neither a token nor a key has"),
        () if credential.headers().is_none() => Some("it does not fit an HTTP header"),
        () => None,
    };
    match problem {
        Some(problem) => Err(SettingsError::malformed(key, problem)
            .with_hint("copy it again, without quotes, blanks and line breaks")),
        None => Ok(credential),
    }
}

fn base_url(settings: &Checked) -> Result<Url, SettingsError> {
    let text = settings.text(BASE_URL).unwrap_or(DEFAULT_BASE);
    let malformed = |problem: &str| {
        SettingsError::malformed(BASE_URL, problem)
            .with_hint(format!("write it like `{DEFAULT_BASE}`"))
    };
    let url: Url = text
        .parse()
        .map_err(|error| malformed(&format!("it is no URL: {error}")))?;
    match url.scheme() {
        _ if !url.username().is_empty() || url.password().is_some() => {
            Err(malformed("a user and a password have no place in it"))
        }
        "https" | "http" if url.has_host() => Ok(url),
        _ => Err(malformed("it begins with neither `https://` nor `http://`")),
    }
}

fn configured(settings: &Checked) -> Result<Configured, SettingsError> {
    let mut zones = Vec::new();
    let mut lone = None;
    for part in settings
        .text(ZONE_ID)
        .unwrap_or_default()
        .split([',', ' '])
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        match part.split_once('=') {
            Some((name, id)) => zones.push((zone_name(ZONE_ID, name)?, zone_id(ZONE_ID, id)?)),
            None if lone.is_none() => lone = Some(zone_id(ZONE_ID, part)?),
            None => {
                return Err(
                    SettingsError::malformed(ZONE_ID, "there are several ids").with_hint(
                        "write `example.com=ID,example.org=ID`, or `zone-ids.example.com`",
                    ),
                );
            }
        }
    }
    for (name, id) in settings.map(ZONE_IDS) {
        zones.push((zone_name(ZONE_IDS, name)?, zone_id(ZONE_IDS, id)?));
    }
    if lone.is_some() && !zones.is_empty() {
        let problem = "an id without a name stands beside ids with names";
        return Err(
            SettingsError::malformed(ZONE_ID, problem).with_hint("write `example.com=ID` for each")
        );
    }
    Ok(match lone {
        Some(id) => Configured::Lone(id),
        None => Configured::Named(zones),
    })
}

fn zone_name(key: &'static str, text: &str) -> Result<DomainName, SettingsError> {
    text.trim()
        .parse()
        .map_err(|_| SettingsError::malformed(key, format!("`{text}` is no zone")))
}

/// An id goes into URLs.
fn zone_id(key: &'static str, text: &str) -> Result<String, SettingsError> {
    let id = text.trim();
    match id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()) {
        true => Ok(id.to_ascii_lowercase()),
        false => Err(
            SettingsError::malformed(key, format!("`{id}` is no id of a zone")).with_hint(
                "it has 32 hexadecimal digits, and stands on the zone's overview page under API",
            ),
        ),
    }
}

const TOKEN: &str = "token";
const ZONE_TOKEN: &str = "zone-token";
const EMAIL: &str = "email";
const KEY: &str = "key";
const ZONE_ID: &str = "zone-id";
const ZONE_IDS: &str = "zone-ids.*";
const BASE_URL: &str = "base-url";
const TTL: &str = "ttl";
const TIMEOUT: &str = "timeout";

/// The smallest that every plan allows; a CA's resolver may keep what it saw for this long.
pub(super) const DEFAULT_TTL: u32 = 60;
/// What an Enterprise zone allows.
pub(super) const LEAST_TTL: u32 = 30;
pub(super) const MOST_TTL: u32 = 86_400;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);

const PERMISSIONS: &str = "\
A token with these permissions, restricted to the zone (Zone Resources → Include → Specific zone → example.com):
    Zone → DNS → Edit
    Zone → Zone → Read     not needed if `zone-id` is set, or if `zone-token` has it

Make it at https://dash.cloudflare.com/profile/api-tokens (template \"Edit zone DNS\", which has DNS → Edit; add Zone → Read),
or for the account at https://dash.cloudflare.com/?to=/:account/api-tokens. Delegate `_acme-challenge` by CNAME to a zone of
its own if the token must not be able to change anything else.

The global API key with its e-mail address works too, and may do everything that its user may.
";

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::io;

    use super::*;
    use crate::registry::BuildError;
    use crate::settings::Settings;
    use crate::settings::Value;

    const GOOD: &str = "Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqnFTOFYY";
    const ID: &str = "023e105f4ecef8ad9ca31a8372d0c353";

    fn built(pairs: &[(&str, &str)]) -> Result<Arc<dyn DnsProvider>, BuildError> {
        let mut settings = Settings::new();
        for (key, value) in pairs {
            settings.insert(*key, Value::from(*value));
        }
        crate::build("cloudflare", "cloud", settings, &Context::default())
    }

    #[test]
    fn good_settings_are_taken() {
        for pairs in [
            vec![("token", GOOD)],
            vec![("api-token", " Sn3lZJTBX6kkg7OdcBUAxOO963GEIyGQqnFTOFYY\n")],
            vec![
                ("email", "a@example.com"),
                ("api-key", "144c9defac04969c7bfad8efaa8ea194"),
            ],
            vec![
                ("token", GOOD),
                ("zone-id", ID),
                ("ttl", "30"),
                ("timeout", "5"),
            ],
            vec![
                ("token", GOOD),
                (
                    "zone-id",
                    "example.com=023E105F4ECEF8AD9CA31A8372D0C353, example.org=023e105f4ecef8ad9ca31a8372d0c353",
                ),
            ],
            vec![
                ("token", GOOD),
                ("zone-ids.example.com", ID),
                ("zone-ids.b\u{fc}cher.example", ID),
            ],
        ] {
            let provider = built(&pairs).unwrap();
            assert_eq!(provider.endpoint(), "the Cloudflare API");
        }
        let capabilities = built(&[("token", GOOD)]).unwrap().capabilities();
        assert_eq!(capabilities.ttl, 60);
        assert_eq!(capabilities.write_safety, WriteSafety::PerValue);
        let elsewhere = [
            ("token", GOOD),
            ("base-url", "http://127.0.0.1:8080/client/v4"),
        ];
        let endpoint = built(&elsewhere).unwrap().endpoint();
        assert_eq!(endpoint, "the Cloudflare API at 127.0.0.1:8080");
    }

    #[test]
    fn wrong_settings_say_what_to_write() {
        for (pairs, problem, hint) in [
            (
                vec![],
                "`token` is missing",
                "set `token`, or the environment variable CLOUDFLARE_DNS_API_TOKEN",
            ),
            (vec![("token", " \n")], "`token` is missing", "set `token`"),
            (
                vec![("key", GOOD)],
                "`email` is missing",
                "set `email`, or the environment variable CLOUDFLARE_EMAIL",
            ),
            (
                vec![("email", "a@example.com")],
                "`key` is missing",
                "CLOUDFLARE_API_KEY",
            ),
            (
                vec![("token", "Bearer abc")],
                "`token`: it begins with `Bearer`",
                "copy it again",
            ),
            (
                vec![("token", "\"abc\"")],
                "`token`: it has characters in it",
                "copy it again, without quotes",
            ),
            (
                vec![("token", GOOD), ("zone-token", "a b")],
                "`zone-token`: it has characters in it",
                "copy it again",
            ),
            (
                vec![("token", GOOD), ("zone-id", "example.com")],
                "`zone-id`: `example.com` is no id of a zone",
                "32 hexadecimal digits",
            ),
            (
                vec![
                    ("token", GOOD),
                    (
                        "zone-id",
                        "023e105f4ecef8ad9ca31a8372d0c353 123e105f4ecef8ad9ca31a8372d0c353",
                    ),
                ],
                "`zone-id`: there are several ids",
                "write `example.com=ID,example.org=ID`",
            ),
            (
                vec![
                    ("token", GOOD),
                    ("zone-id", ID),
                    ("zone-ids.example.com", ID),
                ],
                "`zone-id`: an id without a name",
                "write `example.com=ID` for each",
            ),
            (
                vec![("token", GOOD), ("zone-ids.a..b", ID)],
                "`zone-ids.*`: `a..b` is no zone",
                "",
            ),
            (
                vec![("token", GOOD), ("zone-ids.", ID)],
                "there is no setting `zone-ids.`",
                "did you mean `zone-ids.*`?",
            ),
            (
                vec![("token", GOOD), ("ttl", "20")],
                "`ttl`: 20 is not from 30 to 86400",
                "",
            ),
            (
                vec![("token", GOOD), ("base-url", "api.cloudflare.com")],
                "`base-url`: it is no URL",
                "write it like `https://api.cloudflare.com/client/v4`",
            ),
            (
                vec![("token", GOOD), ("base-url", "ftp://api.cloudflare.com")],
                "`base-url`: it begins with neither",
                "",
            ),
            (
                vec![
                    ("token", GOOD),
                    ("base-url", "https://a:b@api.cloudflare.com"),
                ],
                "`base-url`: a user and a password have no place in it",
                "",
            ),
        ] {
            let error = built(&pairs).unwrap_err();
            let text = error.to_string();
            let prefix = "provider `cloud` (cloudflare): ";
            assert!(
                text.strip_prefix(prefix).unwrap().starts_with(problem),
                "{text}"
            );
            let said = error.hint().unwrap_or_default();
            assert!(said.contains(hint), "{said}");
            assert!(!text.contains(GOOD) && !said.contains(GOOD));
        }
    }

    #[test]
    fn the_environment_of_lego_does() {
        let variables = HashMap::from([
            ("CF_DNS_API_TOKEN_FILE", "/run/secrets/token"),
            ("CLOUDFLARE_API_TOKEN", "of another tool"),
            ("CF_ZONE_API_TOKEN", GOOD),
            ("CLOUDFLARE_TTL", "120"),
            ("CLOUDFLARE_HTTP_TIMEOUT", "45"),
            ("CLOUDFLARE_ZONE_ID", ID),
        ]);
        let settings = Settings::from_env(
            &KIND,
            &|name| variables.get(name).map(|&value| value.to_owned()),
            &|path| match path {
                "/run/secrets/token" => Ok(format!("{GOOD}\n")),
                _ => Err(io::ErrorKind::NotFound.into()),
            },
        )
        .unwrap();
        let keys: Vec<&str> = settings.keys().collect();
        assert_eq!(keys, ["timeout", "token", "ttl", "zone-id", "zone-token"]);
        // The narrower variable wins, as a file too.
        assert!(
            matches!(settings.get("token"), Some(Value::Secret(s)) if s.expose_secret() == GOOD)
        );
        let provider = crate::build("cloudflare", "cloud", settings, &Context::default()).unwrap();
        assert_eq!(provider.capabilities().ttl, 120);
    }
}
