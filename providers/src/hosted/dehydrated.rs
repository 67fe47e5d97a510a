//! dehydrated's hook: one script that is called with what has happened, of which two things are about DNS.

use std::sync::Arc;

use async_trait::async_trait;
use dnseal_core::dns::Action;
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

/// What there is to know about the provider.
pub(crate) const KIND: Kind = Kind {
    docs: "https://github.com/dehydrated-io/dehydrated/blob/master/docs/dns-verification.md",
    integration: Integration::Hosted,
    kind: "dehydrated-hook",
    permissions: "\
A hook that dehydrated calls, and whatever it needs. It is called once for each value, as without HOOK_CHAIN:
    HOOK deploy_challenge example.com TOKEN VALUE
    HOOK clean_challenge example.com TOKEN VALUE
and for nothing else.
",
    settings: &[
        Setting {
            aliases: &["hook"],
            default: None,
            env: &["DNSEAL_DEHYDRATED_HOOK"],
            form: Form::Words,
            help: "The hook by its path, and arguments that come first; no shell reads it",
            key: COMMAND,
            required: true,
        },
        script::ENV_SETTING,
        script::TIMEOUT_SETTING,
    ],
    title: "a hook as dehydrated calls it",
    write_safety: WriteSafety::ReadModifyWrite,

    build,
};

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    Ok(Arc::new(OneAtATime::new(Hook {
        script: Script::new(COMMAND, settings, context)?,
    })))
}

#[derive(Debug)]
struct Hook {
    script: Script,
}

#[async_trait]
impl Single for Hook {
    fn endpoint(&self) -> String {
        self.script.name()
    }

    async fn write(
        &self,
        change: &TxtChange,
        challenge: &Challenge,
        _batch: &Batch,
    ) -> Result<Option<String>, ProviderError> {
        let domain = challenge.domain_at(&change.owner, self.endpoint())?;
        let handler = match change.action {
            Action::Add => "deploy_challenge",
            Action::Remove => "clean_challenge",
        };
        // Hooks for DNS have no use for it, and want its place filled.
        let token = challenge.token.as_deref().unwrap_or("-");
        let value = change.value.to_string();
        let arguments = [handler, domain.as_str(), token, &value];
        self.script.run(&arguments, &[]).await.map(|_| None)
    }
}

const COMMAND: &str = "command";
