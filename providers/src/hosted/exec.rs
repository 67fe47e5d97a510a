//! lego's `exec`: a script that is called with `present` or `cleanup` and what to write.
//!
//! `SCRIPT present _acme-challenge.example.com. VALUE`, or in the mode `RAW` `SCRIPT present -- example.com TOKEN KEYAUTH`, from
//! which the script makes name and value by itself.

use std::sync::Arc;

use async_trait::async_trait;
use dnseal_core::dns::Action;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::WriteSafety;

use crate::hosted::script;
use crate::hosted::script::Script;
use crate::registry::Context;
use crate::registry::Form;
use crate::registry::Integration;
use crate::registry::Kind;
use crate::registry::Setting;
use crate::settings::Checked;
use crate::settings::SettingsError;
use crate::single::Batch;
use crate::single::Challenge;
use crate::single::OneAtATime;
use crate::single::Single;
use crate::single::challenge_names_only;

/// What there is to know about the provider.
pub(crate) const KIND: Kind = Kind {
    docs: "https://go-acme.github.io/lego/dns/exec/",
    integration: Integration::Hosted,
    kind: "exec",
    permissions: "\
A script that lego's `exec` calls, and whatever it needs. It is called once for each value:
    SCRIPT present _acme-challenge.example.com. VALUE
    SCRIPT cleanup _acme-challenge.example.com. VALUE
It must leave other values of the same name alone, and exit with 0 if the value is there, or gone.
",
    settings: &[
        Setting {
            aliases: &["path"],
            default: None,
            env: &["EXEC_PATH"],
            form: Form::Words,
            help: "The script by its path, and arguments that come first; no shell reads it",
            key: COMMAND,
            required: true,
        },
        MODE_SETTING,
        script::ENV_SETTING,
        script::TIMEOUT_SETTING,
    ],
    title: "a script with lego's `exec` contract",
    write_safety: WriteSafety::ReadModifyWrite,

    build,
};

const MODE_SETTING: Setting = Setting {
    aliases: &[],
    default: None,
    env: &["EXEC_MODE"],
    form: Form::Text,
    help: "`RAW`: the script gets domain, token and key authorization in place of name and value",
    key: MODE,
    required: false,
};

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    Ok(Arc::new(OneAtATime::new(Exec {
        raw: is_raw(settings)?,
        script: Script::new(COMMAND, settings, context)?,
    })))
}

/// Whether the mode of lego's contracts is `RAW`.
pub(super) fn is_raw(settings: &Checked) -> Result<bool, SettingsError> {
    match settings.text(MODE) {
        None | Some("") => Ok(false),
        Some(mode) if mode.eq_ignore_ascii_case("raw") => Ok(true),
        Some(mode) => Err(SettingsError::malformed(
            MODE,
            format!("`{mode}` is not `RAW`, the only mode beside the default"),
        )),
    }
}

#[derive(Debug)]
struct Exec {
    raw: bool,
    script: Script,
}

#[async_trait]
impl Single for Exec {
    fn endpoint(&self) -> String {
        self.script.name()
    }

    fn capabilities(&self) -> Capabilities {
        of_mode(self.raw, self.script.capabilities())
    }

    async fn write(
        &self,
        change: &TxtChange,
        challenge: &Challenge,
        _batch: &Batch,
    ) -> Result<Option<String>, ProviderError> {
        let verb = verb(change.action);
        if self.raw {
            let raw = raw(change, challenge, &self.endpoint())?;
            let arguments = [verb, "--", raw.domain, raw.token, raw.key_authorization];
            self.script.run(&arguments, &[]).await?;
        } else {
            let value = change.value.to_string();
            let arguments = [verb, &change.owner.fqdn(), &value];
            self.script.run(&arguments, &[]).await?;
        }
        Ok(None)
    }
}

/// lego's words for the two writes.
pub(super) fn verb(action: Action) -> &'static str {
    match action {
        Action::Add => "present",
        Action::Remove => "cleanup",
    }
}

/// What lego's contracts can do: in the mode `RAW` the receiver makes the name by itself.
pub(super) fn of_mode(raw: bool, plain: Capabilities) -> Capabilities {
    match raw {
        true => challenge_names_only(plain),
        false => plain,
    }
}

/// What the mode `RAW` tells.
pub(super) struct Raw<'a> {
    pub(super) domain: &'a str,
    pub(super) key_authorization: &'a str,
    pub(super) token: &'a str,
}

/// Fails for a value that comes from no challenge, and for one whose challenge is delegated: the receiver would write it elsewhere.
pub(super) fn raw<'a>(
    change: &TxtChange,
    challenge: &'a Challenge,
    endpoint: &str,
) -> Result<Raw<'a>, ProviderError> {
    let domain = challenge.domain_at(&change.owner, endpoint.to_owned())?;
    match (&challenge.token, &challenge.key_authorization) {
        (Some(token), Some(key_authorization)) => Ok(Raw {
            domain: domain.as_str(),
            key_authorization,
            token,
        }),
        _ => Err(ProviderError::Unsupported {
            detail: "the mode `RAW` needs token and key authorization, and this value comes from no challenge that is known"
                .to_owned(),
            endpoint: endpoint.to_owned(),
        }),
    }
}

const COMMAND: &str = "command";
pub(super) const MODE: &str = "mode";
