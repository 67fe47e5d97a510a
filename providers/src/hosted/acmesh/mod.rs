//! acme.sh's DNS scripts, hosted: the user's own, unmodified, each call in a short-lived process.
//!
//! The contract is a shell function that adds one value and one that removes it. Many a script removes more than it is told to, so
//! that what stands beside a value is looked up before (`careful`), and one owner name is written by one run at a time
//! ([`Capabilities::exclusive`](dnseal_core::dns::Capabilities::exclusive)). What a script saves stays in the store (`kept`). Which variables a script has, its header says
//! (`header`), and a [`Kind`] is made of it.

mod careful;
mod header;
mod home;
mod host;
mod kept;

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use dnseal_core::deploy::user_ids;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::WriteSafety;
use dnseal_core::store::UserIds;
use secrecy::SecretString;

pub use crate::hosted::acmesh::header::Removal;

use crate::hosted::acmesh::careful::Careful;
use crate::hosted::acmesh::header::Header;
use crate::hosted::acmesh::header::is_variable;
use crate::hosted::acmesh::home::Home;
use crate::hosted::acmesh::host::Host;
use crate::hosted::acmesh::kept::Keeper;
use crate::hosted::script;
use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::settings::Checked;
use crate::settings::SettingsError;

/// What there is to know about the provider before it is said which script.
pub(crate) const KIND: Kind = Kind {
    docs: "https://github.com/acmesh-official/acme.sh/wiki/dnsapi",
    integration: Integration::AnyScript,
    kind: KIND_NAME,
    permissions: "\
An acme.sh, as its users have it; it issues nothing, and its scripts are run as they are. `dnseal provider list --acme.sh` shows
them, and `dnseal provider show acme.sh --set script=NAME` what one needs. Variables stand under `env`, or are taken from the
environment if the script's header names them. What a script saves stays in dnseal's store.
The scripts put their secrets on curl's command line, where every user of the machine can see them for a moment; `user` makes
them run as somebody who can do nothing else.
",
    settings: &[
        SCRIPT_SETTING,
        HOME_SETTING,
        USER_SETTING,
        MAX_VALUES_SETTING,
        script::TIMEOUT_SETTING,
        script::ENV_SETTING,
    ],
    title: "a DNS script of acme.sh",
    write_safety: WriteSafety::ReadModifyWrite,

    build,
};

/// One script, as its header tells it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScriptInfo {
    /// Where it is described.
    pub docs: String,
    /// Its name, such as `dns_cf`.
    pub name: String,
    /// What it takes when it is told to remove a value.
    pub removal: Removal,
    /// The service's site.
    pub site: String,
    /// The service.
    pub title: String,
    /// The variables that it reads.
    pub variables: Vec<String>,
}

/// Every script of the acme.sh in the directory `home`, or where it usually is. Nothing is run.
pub fn scripts(home: Option<&str>) -> Result<Vec<ScriptInfo>, SettingsError> {
    let home = Home::find(home)?;
    home.list()
        .into_iter()
        .map(|name| {
            let (name, path) = home.script(&name)?;
            let text = read(&name, &path)?;
            let header = Header::parse(&name, &text);
            Ok(ScriptInfo {
                docs: header.docs,
                removal: Removal::of(&name, &text),
                site: header.site,
                title: match header.title.is_empty() {
                    true => name.clone(),
                    false => header.title,
                },
                variables: header.options.into_iter().map(|o| o.name).collect(),
                name,
            })
        })
        .collect()
}

/// The kind that a script is, with the variables that its header names as settings. Nothing is run.
///
/// It is kept for the life of this process, as the registry's own constants are.
pub fn describe(script: &str, home: Option<&str>) -> Result<&'static Kind, SettingsError> {
    static KNOWN: Mutex<Vec<(PathBuf, &Kind)>> = Mutex::new(Vec::new());
    let (name, path) = Home::find(home)?.script(script)?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, kind)) = known.iter().find(|(at, _)| *at == path) {
        return Ok(kind);
    }
    let text = read(&name, &path)?;
    let kind = leak(
        &name,
        Header::parse(&name, &text),
        Removal::of(&name, &text),
    );
    known.push((path, kind));
    Ok(kind)
}

fn read(name: &str, path: &Path) -> Result<String, SettingsError> {
    let content = std::fs::read(path).map_err(|error| {
        SettingsError::malformed(SCRIPT, format!("`{name}` cannot be read: {error}"))
    })?;
    Ok(String::from_utf8_lossy(&content).into_owned())
}

fn leak(name: &str, header: Header, removal: Removal) -> &'static Kind {
    let text = |text: String| -> &'static str { Box::leak(text.into_boxed_str()) };
    let mut settings = vec![
        SCRIPT_SETTING,
        HOME_SETTING,
        USER_SETTING,
        MAX_VALUES_SETTING,
        script::TIMEOUT_SETTING,
    ];
    for option in header.options {
        let is_public = option.is_public();
        settings.push(Setting {
            aliases: &[],
            default: None,
            env: Box::leak(Box::new([text(option.name.clone())])),
            form: match is_public {
                true => Form::Text,
                false => Form::Secret,
            },
            help: text(option.help),
            key: text(format!("{ENV_PREFIX}{}", option.name)),
            required: false,
        });
    }
    settings.push(script::ENV_SETTING);
    let removal = match removal {
        Removal::More => {
            "takes whatever stands at the name; dnseal puts back what others have there"
        }
        Removal::Nothing => "does nothing",
        Removal::Value => "looks for the value",
    };
    let mut permissions: Vec<String> = header.description;
    if !header.site.is_empty() {
        permissions.push(header.site);
    }
    permissions.push(format!("When it removes a value, the script {removal}."));
    permissions.push(
        "It puts its secrets on curl's command line, where every user of the machine can see them for a moment.".to_owned(),
    );
    Box::leak(Box::new(Kind {
        docs: text(header.docs),
        integration: Integration::Hosted,
        permissions: text(permissions.join("\n")),
        settings: settings.leak(),
        title: text(match header.title.is_empty() {
            true => format!("acme.sh's {name}"),
            false => format!("acme.sh's {name}, for {}", header.title),
        }),
        ..KIND
    }))
}

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let home = Home::find(settings.text(HOME))?;
    let wanted = settings
        .text(SCRIPT)
        .ok_or_else(|| settings.missing(SCRIPT))?;
    let (name, path) = home.script(wanted)?;
    let text = read(&name, &path)?;
    let header = Header::parse(&name, &text);
    let named = settings.kind().settings.iter().filter(|s| !s.is_map());
    let mut env: Vec<(String, SecretString)> = named
        .filter_map(|setting| {
            let name = setting.key.strip_prefix(ENV_PREFIX)?;
            Some((name.to_owned(), settings.text(setting.key)?.into()))
        })
        .collect();
    env.extend(
        settings
            .map(script::ENV)
            .map(|(name, value)| (name.to_owned(), value.into())),
    );
    for (name, value) in &env {
        check_variable(name, value)?;
    }
    let host = Host {
        library: home.library,
        log: host::log(&env, &header, context.events().clone()),
        name: name.clone(),
        script: path,
        timeout: settings
            .duration(script::TIMEOUT)?
            .unwrap_or(script::DEFAULT_TIMEOUT),
        user: settings.text(USER).map(user).transpose()?,
        env,
    };
    host.check().map_err(|error| {
        let hint = error.hint();
        let error = SettingsError::malformed(HOME, error.to_string());
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })?;
    let keeper = Keeper::new(
        settings.name(),
        &name,
        host.endpoint(),
        context.memory().cloned(),
    );
    let max_values = settings.number(MAX_VALUES)?;
    if max_values == Some(0) {
        return Err(SettingsError::malformed(
            MAX_VALUES,
            "is 0, and a challenge is one value",
        ));
    }
    Ok(Arc::new(Careful::new(
        host,
        keeper,
        Removal::of(&name, &text),
        max_values.and_then(|most| usize::try_from(most).ok()),
        context,
    )))
}

fn check_variable(name: &str, value: &SecretString) -> Result<(), SettingsError> {
    use secrecy::ExposeSecret;

    if !is_variable(name) {
        return Err(SettingsError::malformed(
            script::ENV,
            format!("`{name}` is no name of a variable"),
        ));
    }
    let is_set = !matches!(value.expose_secret(), "" | "0" | "false");
    if is_set && name.to_ascii_lowercase().ends_with("insecure") {
        return Err(SettingsError::malformed(
            script::ENV,
            format!("`{name}` would let the script trust any server"),
        )
        .with_hint("`env.CA_BUNDLE` names a file with the roots that it shall trust"));
    }
    if value.expose_secret().contains('\0') {
        return Err(SettingsError::malformed(
            script::ENV,
            format!("`{name}` holds what no variable can hold"),
        ));
    }
    Ok(())
}

/// The user to run as; only root can become somebody else.
fn user(name: &str) -> Result<UserIds, SettingsError> {
    let ids = user_ids(name).map_err(|error| {
        let hint = error.hint();
        let error = SettingsError::malformed(USER, error.to_string());
        match hint {
            Some(hint) => error.with_hint(hint),
            None => error,
        }
    })?;
    #[cfg(unix)]
    let may =
        rustix::process::geteuid().is_root() || rustix::process::geteuid().as_raw() == ids.user;
    #[cfg(not(unix))]
    let may = false;
    match may {
        true => Ok(ids),
        false => Err(SettingsError::malformed(
            USER,
            format!("only root can run a script as `{name}`"),
        )),
    }
}

/// The word after `kind:`.
pub const KIND_NAME: &str = "acme.sh";

const SCRIPT_SETTING: Setting = Setting {
    aliases: &[],
    default: None,
    env: &["DNSEAL_ACME_SH_SCRIPT"],
    form: Form::Text,
    help: "The script, such as `dns_cf`",
    key: SCRIPT,
    required: true,
};

const HOME_SETTING: Setting = Setting {
    aliases: &[],
    default: None,
    env: &["DNSEAL_ACME_SH_HOME", "LE_WORKING_DIR"],
    form: Form::Text,
    help: "The directory of acme.sh, with its `dnsapi`; without it a few places where it usually is",
    key: HOME,
    required: false,
};

const USER_SETTING: Setting = Setting {
    aliases: &[],
    default: None,
    env: &[],
    form: Form::Text,
    help: "The user to run the script as, by name or number; needs root",
    key: USER,
    required: false,
};

const MAX_VALUES_SETTING: Setting = Setting {
    aliases: &[],
    default: None,
    env: &[],
    form: Form::Number,
    help: "How many values the service lets a name hold, where that is few; challenges beyond it wait for those before",
    key: MAX_VALUES,
    required: false,
};

const ENV_PREFIX: &str = "env.";
const HOME: &str = "home";
const MAX_VALUES: &str = "max-values";
const SCRIPT: &str = "script";
const USER: &str = "user";
