//! What the provider can be told, and the key it signs with.
//!
//! The names of the environment variables are lego's, of both its generations, so that its users need not change anything.

use std::sync::Arc;
use std::time::Duration;

use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::WriteSafety;
use secrecy::ExposeSecret;
use secrecy::SecretString;

use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::rfc2136::Rfc2136;
use crate::rfc2136::exchange::Client;
use crate::rfc2136::exchange::Server;
use crate::rfc2136::keyfile;
use crate::rfc2136::tsig::Algorithm;
use crate::rfc2136::tsig::Key;
use crate::rfc2136::tsig::KeyError;
use crate::settings::Checked;
use crate::settings::SettingsError;

/// What there is to know about the provider.
pub(crate) const KIND: Kind = Kind {
    docs: "https://www.rfc-editor.org/rfc/rfc2136",
    integration: Integration::Native,
    kind: "rfc2136",
    permissions: PERMISSIONS,
    settings: &[
        Setting {
            aliases: &["nameserver"],
            default: None,
            env: &["RFC2136_NAMESERVER", "DNSUPDATE_NAMESERVER"],
            form: Form::Text,
            help: "The primary name server: a name or an address, with `:PORT` if it is not 53",
            key: SERVER,
            required: true,
        },
        Setting {
            aliases: &["tsig.key"],
            default: None,
            env: &["RFC2136_TSIG_KEY", "DNSUPDATE_TSIG_KEY"],
            form: Form::Text,
            help: "The name of the TSIG key, as the server has it",
            key: TSIG_NAME,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["RFC2136_TSIG_SECRET", "DNSUPDATE_TSIG_SECRET"],
            form: Form::Secret,
            help: "The secret of the TSIG key in base64",
            key: TSIG_SECRET,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("hmac-sha256"),
            env: &["RFC2136_TSIG_ALGORITHM", "DNSUPDATE_TSIG_ALGORITHM"],
            form: Form::Text,
            help: "The algorithm of the TSIG key: hmac-sha1, hmac-sha224, hmac-sha256, hmac-sha384 or hmac-sha512",
            key: TSIG_ALGORITHM,
            required: false,
        },
        Setting {
            aliases: &["tsig.file"],
            default: None,
            env: &["RFC2136_TSIG_FILE", "DNSUPDATE_TSIG_FILE"],
            form: Form::File,
            help: "A key file as `tsig-keygen` writes it, instead of `tsig.name` and `tsig.secret`",
            key: KEY_FILE,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("false"),
            env: &["DNSEAL_RFC2136_UNSIGNED"],
            form: Form::Flag,
            help: "Send updates without a signature, for servers that go by the address of the sender",
            key: UNSIGNED,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["DNSEAL_RFC2136_ZONE"],
            form: Form::Text,
            help: "The zone to update, instead of the one that the server says a name is in",
            key: ZONE,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("1"),
            env: &["RFC2136_TTL", "DNSUPDATE_TTL"],
            form: Form::Number,
            help: "The TTL of challenge values in seconds",
            key: TTL,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("10s"),
            env: &["RFC2136_DNS_TIMEOUT", "DNSUPDATE_DNS_TIMEOUT"],
            form: Form::Duration,
            help: "How long to wait for a connection, and for an answer",
            key: TIMEOUT,
            required: false,
        },
    ],
    title: "any name server that takes dynamic updates (RFC 2136), such as BIND, Knot and PowerDNS",
    write_safety: WriteSafety::PerValue,

    build,
};

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let server = settings
        .text(SERVER)
        .ok_or_else(|| settings.missing(SERVER))?
        .parse::<Server>()
        .map_err(|error| {
            SettingsError::malformed(SERVER, error.to_string())
                .with_hint("write `ns1.example.com`, `192.0.2.1:5353` or `[2001:db8::1]:5353`")
        })?;
    let zone = settings
        .text(ZONE)
        .map(|text| {
            text.parse::<DomainName>()
                .map_err(|_| SettingsError::malformed(ZONE, format!("`{text}` is no zone")))
        })
        .transpose()?;
    let ttl = settings.number(TTL)?.unwrap_or(DEFAULT_TTL);
    if ttl > MAX_TTL {
        return Err(SettingsError::malformed(
            TTL,
            format!("{ttl} is more than {MAX_TTL} (RFC 2181 section 8)"),
        ));
    }
    Ok(Arc::new(Rfc2136 {
        client: Client {
            context: context.clone(),
            key: key(settings)?,
            server,
            timeout: settings.duration(TIMEOUT)?.unwrap_or(DEFAULT_TIMEOUT),
        },
        ttl,
        zone,
    }))
}

fn key(settings: &Checked) -> Result<Option<Key>, SettingsError> {
    let unsigned = settings.flag(UNSIGNED)?;
    let given = [TSIG_NAME, TSIG_SECRET, KEY_FILE]
        .into_iter()
        .find(|key| settings.has(key));
    match (unsigned, given) {
        (true, None) => return Ok(None),
        (true, Some(key)) => {
            return Err(
                SettingsError::malformed(UNSIGNED, format!("`{key}` is set as well"))
                    .with_hint("leave one of them out"),
            );
        }
        (false, None) => {
            return Err(
                SettingsError::malformed(TSIG_NAME, "there is no key to sign updates with")
                    .with_hint(
                        "set `tsig.name` and `tsig.secret` (RFC2136_TSIG_KEY and RFC2136_TSIG_SECRET), or `key-file` (RFC2136_TSIG_FILE); or `unsigned: true` if the server wants no signature",
                    ),
            );
        }
        (false, Some(_)) => {}
    }

    let algorithm = match settings.text(TSIG_ALGORITHM) {
        Some(text) => Some(text.parse().map_err(|e| malformed(TSIG_ALGORITHM, &e))?),
        None => None,
    };
    match settings.secret(KEY_FILE) {
        Some(_) if settings.has(TSIG_SECRET) => Err(SettingsError::malformed(
            KEY_FILE,
            format!("`{TSIG_SECRET}` is set as well"),
        )
        .with_hint("leave one of them out")),
        Some(content) => key_from_file(settings, &content, algorithm).map(Some),
        None => {
            let name = settings
                .text(TSIG_NAME)
                .ok_or_else(|| settings.missing(TSIG_NAME))?;
            let secret = settings
                .secret(TSIG_SECRET)
                .ok_or_else(|| settings.missing(TSIG_SECRET))?;
            Key::new(name, algorithm.unwrap_or_default(), &secret)
                .map(Some)
                .map_err(|e| match e {
                    KeyError::Name(_) => malformed(TSIG_NAME, &e),
                    _ => malformed(TSIG_SECRET, &e),
                })
        }
    }
}

fn key_from_file(
    settings: &Checked,
    content: &SecretString,
    algorithm: Option<Algorithm>,
) -> Result<Key, SettingsError> {
    let keys = keyfile::parse(content.expose_secret()).map_err(|error| {
        SettingsError::malformed(KEY_FILE, error.to_string())
            .with_hint("make one with `tsig-keygen -a hmac-sha256 NAME`")
    })?;
    let wanted = settings.text(TSIG_NAME);
    let same = |a: &str, b: &str| {
        a.trim_end_matches('.')
            .eq_ignore_ascii_case(b.trim_end_matches('.'))
    };
    let Some(key) = keys
        .iter()
        .find(|key| wanted.is_none_or(|wanted| same(&key.name, wanted)))
    else {
        let names: Vec<&str> = keys.iter().map(|k| k.name.as_str()).collect();
        return Err(SettingsError::malformed(
            KEY_FILE,
            format!("it holds no key `{}`", wanted.unwrap_or_default()),
        )
        .with_hint(format!("it holds {}", names.join(", "))));
    };
    let algorithm = match &key.algorithm {
        Some(text) => text.parse().map_err(|e| malformed(KEY_FILE, &e))?,
        None => algorithm.unwrap_or_default(),
    };
    Key::new(&key.name, algorithm, &key.secret).map_err(|e| malformed(KEY_FILE, &e))
}

fn malformed(key: &'static str, error: &KeyError) -> SettingsError {
    SettingsError::malformed(key, error.to_string()).with_hint(error.hint())
}

const SERVER: &str = "server";
const TSIG_NAME: &str = "tsig.name";
const TSIG_SECRET: &str = "tsig.secret";
const TSIG_ALGORITHM: &str = "tsig.algorithm";
const KEY_FILE: &str = "key-file";
const UNSIGNED: &str = "unsigned";
const ZONE: &str = "zone";
const TTL: &str = "ttl";
const TIMEOUT: &str = "timeout";

/// What lego waits; a primary that needs longer for an UPDATE is in trouble.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// A CA's resolver may keep what it saw for this long, so that shorter is better.
const DEFAULT_TTL: u32 = 1;
const MAX_TTL: u32 = 0x7fff_ffff;

const PERMISSIONS: &str = "\
A key that may change TXT at the challenge names, and nothing else. Make it with `tsig-keygen -a hmac-sha256 acme-key`.

BIND, in the zone's statement (one line a name, or `zonesub TXT` for all names):
    update-policy { grant acme-key. name _acme-challenge.example.com. TXT; };

Knot, named in the zone's `acl`:
    acl:
      - id: acme
        key: acme-key
        action: update
        update-type: TXT
        update-owner: name
        update-owner-match: equal
        update-owner-name: _acme-challenge.example.com.

PowerDNS, with `dnsupdate=yes` and `allow-dnsupdate-from` (a key may change the whole zone, so delegate `_acme-challenge` to a zone of its own):
    pdnsutil import-tsig-key acme-key hmac-sha256 SECRET
    pdnsutil set-meta example.com TSIG-ALLOW-DNSUPDATE acme-key
";
