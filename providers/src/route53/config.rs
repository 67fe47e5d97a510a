//! What the provider can be told.
//!
//! The names of the environment variables are those of the AWS tools, and lego's for what is not theirs.

use std::sync::Arc;

use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::WriteSafety;

use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::route53::Route53;
use crate::route53::client::Client;
use crate::route53::client::Keys;
use crate::route53::client::Login;
use crate::route53::client::Rate;
use crate::route53::client::Role;
use crate::route53::policy::PERMISSIONS;
use crate::route53::settle::Watched;
use crate::route53::zones::Choice;
use crate::settings::Checked;
use crate::settings::SettingsError;

/// What there is to know about the provider.
pub(crate) const KIND: Kind = Kind {
    docs: "https://docs.aws.amazon.com/Route53/latest/APIReference/",
    integration: Integration::Native,
    kind: "route53",
    permissions: PERMISSIONS,
    settings: &[
        Setting {
            aliases: &[],
            default: None,
            env: &["AWS_ACCESS_KEY_ID"],
            form: Form::Text,
            help: "An access key; without one, credentials come from where the AWS tools find them: AWS_PROFILE, SSO, web identity, ECS, EKS, EC2",
            key: ACCESS_KEY_ID,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["AWS_SECRET_ACCESS_KEY"],
            form: Form::Secret,
            help: "The secret of the access key",
            key: SECRET_ACCESS_KEY,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["AWS_SESSION_TOKEN"],
            form: Form::Secret,
            help: "The token that belongs to a temporary access key",
            key: SESSION_TOKEN,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &[],
            form: Form::Text,
            help: "A profile of the AWS configuration files, before any access key and AWS_PROFILE",
            key: PROFILE,
            required: false,
        },
        Setting {
            aliases: &["assume-role.arn"],
            default: None,
            env: &["AWS_ASSUME_ROLE_ARN"],
            form: Form::Text,
            help: "The ARN of a role to assume with these credentials",
            key: ASSUME_ROLE,
            required: false,
        },
        Setting {
            aliases: &["assume-role.external-id"],
            default: None,
            env: &["AWS_EXTERNAL_ID"],
            form: Form::Text,
            help: "The external ID that the role's trust policy asks for",
            key: EXTERNAL_ID,
            required: false,
        },
        Setting {
            aliases: &["assume-role.session-name"],
            default: Some(DEFAULT_SESSION_NAME),
            env: &["AWS_ROLE_SESSION_NAME"],
            form: Form::Text,
            help: "The name that the role's session has in the account's logs",
            key: SESSION_NAME,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("us-east-1"),
            env: &["AWS_REGION", "AWS_DEFAULT_REGION"],
            form: Form::Text,
            help: "The region; it matters for assumed roles, and outside the public partition of AWS",
            key: REGION,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["AWS_HOSTED_ZONE_ID"],
            form: Form::Text,
            help: "The hosted zone to write, instead of the deepest one that contains a name",
            key: HOSTED_ZONE_ID,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("false"),
            env: &["AWS_PRIVATE_ZONE"],
            form: Form::Flag,
            help: "Write private hosted zones in place of public ones",
            key: PRIVATE,
            required: false,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["AWS_ENDPOINT_URL_ROUTE_53"],
            form: Form::Text,
            help: "The URL of the API, where it is not Amazon's",
            key: ENDPOINT,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("1"),
            env: &["AWS_TTL"],
            form: Form::Number,
            help: "The TTL of challenge values in seconds; a smaller one that is there already is kept",
            key: TTL,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("10"),
            env: &["DNSEAL_ROUTE53_REQUESTS_PER_SECOND"],
            form: Form::Number,
            help: "Requests in a second that this process makes at most, of those that the account has",
            key: RATE,
            required: false,
        },
        Setting {
            aliases: &[],
            default: Some("50"),
            env: &["DNSEAL_ROUTE53_BURST"],
            form: Form::Number,
            help: "Requests that may be made at once after a time without any",
            key: BURST,
            required: false,
        },
    ],
    title: "Amazon Route 53",
    write_safety: WriteSafety::CompareAndSwap,

    build,
};

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let text = |key| settings.text(key).map(str::to_owned);
    let login = Login {
        endpoint: text(ENDPOINT).map(endpoint).transpose()?,
        keys: keys(settings)?,
        profile: text(PROFILE),
        region: text(REGION),
        role: role(settings)?,
    };
    let rate = Rate {
        burst: at_least_one(settings, BURST)?.unwrap_or(DEFAULT_BURST),
        per_second: at_least_one(settings, RATE)?.unwrap_or(DEFAULT_RATE),
    };
    let ttl = settings.number(TTL)?.unwrap_or(DEFAULT_TTL);
    if ttl > MAX_TTL {
        return Err(SettingsError::malformed(
            TTL,
            format!("{ttl} is more than {MAX_TTL} (RFC 2181 section 8)"),
        ));
    }
    Ok(Arc::new(Route53 {
        choice: Choice {
            // The console and the API's answers show it with its path.
            id: text(HOSTED_ZONE_ID).map(|id| id.rsplit('/').next().unwrap_or_default().to_owned()),
            private: settings.flag(PRIVATE)?,
        },
        client: Client::new(login, rate, context),
        ttl,
        watched: Watched::default(),
    }))
}

fn keys(settings: &Checked) -> Result<Option<Keys>, SettingsError> {
    match (
        settings.text(ACCESS_KEY_ID),
        settings.secret(SECRET_ACCESS_KEY),
    ) {
        (Some(id), Some(secret)) => Ok(Some(Keys {
            id: id.to_owned(),
            secret,
            session_token: settings.secret(SESSION_TOKEN),
        })),
        (Some(_), None) => Err(settings.missing(SECRET_ACCESS_KEY)),
        (None, Some(_)) => Err(settings.missing(ACCESS_KEY_ID)),
        (None, None) => Ok(None),
    }
}

fn role(settings: &Checked) -> Result<Option<Role>, SettingsError> {
    let Some(arn) = settings.text(ASSUME_ROLE) else {
        return match settings.has(EXTERNAL_ID) {
            true => Err(SettingsError::malformed(
                EXTERNAL_ID,
                "there is no role that it could be for",
            )
            .with_hint("set `assume-role`")),
            false => Ok(None),
        };
    };
    // arn:PARTITION:iam::ACCOUNT:role/NAME
    let parts: Vec<&str> = arn.splitn(6, ':').collect();
    if !matches!(parts.as_slice(), ["arn", _, "iam", "", _, name] if name.starts_with("role/")) {
        return Err(
            SettingsError::malformed(ASSUME_ROLE, format!("`{arn}` is no ARN of a role"))
                .with_hint("write `arn:aws:iam::123456789012:role/NAME`"),
        );
    }
    Ok(Some(Role {
        arn: arn.to_owned(),
        external_id: settings.text(EXTERNAL_ID).map(str::to_owned),
        session_name: settings
            .text(SESSION_NAME)
            .unwrap_or(DEFAULT_SESSION_NAME)
            .to_owned(),
    }))
}

fn endpoint(url: String) -> Result<String, SettingsError> {
    let scheme = ["https://", "http://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    match scheme && reqwest::Url::parse(&url).is_ok() {
        true => Ok(url.trim_end_matches('/').to_owned()),
        false => Err(
            SettingsError::malformed(ENDPOINT, format!("`{url}` is no URL"))
                .with_hint("write `https://HOST` or `http://HOST:PORT`"),
        ),
    }
}

fn at_least_one(settings: &Checked, key: &'static str) -> Result<Option<u32>, SettingsError> {
    match settings.number(key)? {
        Some(0) => Err(SettingsError::malformed(key, "it must be at least 1")),
        number => Ok(number),
    }
}

const ACCESS_KEY_ID: &str = "access-key-id";
const SECRET_ACCESS_KEY: &str = "secret-access-key";
const SESSION_TOKEN: &str = "session-token";
const PROFILE: &str = "profile";
const ASSUME_ROLE: &str = "assume-role";
const EXTERNAL_ID: &str = "external-id";
const SESSION_NAME: &str = "session-name";
const REGION: &str = "region";
const HOSTED_ZONE_ID: &str = "hosted-zone-id";
const PRIVATE: &str = "private";
const ENDPOINT: &str = "endpoint";
const TTL: &str = "ttl";
const RATE: &str = "requests-per-second";
const BURST: &str = "burst";

const DEFAULT_SESSION_NAME: &str = "dnseal";
/// A CA's resolver may keep what it saw for this long, so that shorter is better.
const DEFAULT_TTL: u32 = 1;
const MAX_TTL: u32 = 0x7fff_ffff;
/// "Quotas" in the Route 53 Developer Guide: what an account may ask in a second, and after a pause.
const DEFAULT_RATE: u32 = 10;
const DEFAULT_BURST: u32 = 50;
