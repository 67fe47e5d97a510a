//! certbot's manual hooks: a program for adding, a program for removing, and everything in environment variables.
//!
//! certbot goes on when the first of them fails. Here its exit status counts.

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
    docs: "https://eff-certbot.readthedocs.io/en/stable/using.html#pre-and-post-validation-hooks",
    integration: Integration::Hosted,
    kind: "certbot-hook",
    permissions: "\
Two hooks that certbot's `--manual` calls, and whatever they need. Each is called once for each value, with
    CERTBOT_DOMAIN, CERTBOT_IDENTIFIER     example.com, also for *.example.com
    CERTBOT_VALIDATION                     the value, for the TXT record _acme-challenge.example.com
    CERTBOT_REMAINING_CHALLENGES           how many come after it, 0 with the last
    CERTBOT_ALL_DOMAINS, CERTBOT_ALL_IDENTIFIERS
    CERTBOT_AUTH_OUTPUT                    for the cleanup hook: what the auth hook wrote to standard output
An exit status other than 0 is a failure, which certbot itself would pass over.
",
    settings: &[
        Setting {
            aliases: &[],
            default: None,
            env: &["DNSEAL_CERTBOT_AUTH_HOOK"],
            form: Form::Words,
            help: "What adds a value: a program by its path, and arguments; no shell reads it",
            key: AUTH,
            required: true,
        },
        Setting {
            aliases: &[],
            default: None,
            env: &["DNSEAL_CERTBOT_CLEANUP_HOOK"],
            form: Form::Words,
            help: "What removes it",
            key: CLEANUP,
            required: true,
        },
        script::ENV_SETTING,
        script::TIMEOUT_SETTING,
    ],
    title: "hooks as certbot's `--manual` calls them",
    write_safety: WriteSafety::ReadModifyWrite,

    build,
};

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    Ok(Arc::new(OneAtATime::new(Hooks {
        auth: Script::new(AUTH, settings, context)?,
        cleanup: Script::new(CLEANUP, settings, context)?,
    })))
}

#[derive(Debug)]
struct Hooks {
    auth: Script,
    cleanup: Script,
}

#[async_trait]
impl Single for Hooks {
    fn endpoint(&self) -> String {
        self.auth.name()
    }

    fn capabilities(&self) -> Capabilities {
        challenge_names_only(self.auth.capabilities())
    }

    async fn write(
        &self,
        change: &TxtChange,
        challenge: &Challenge,
        batch: &Batch,
    ) -> Result<Option<String>, ProviderError> {
        let domain = challenge.domain_at(&change.owner, self.endpoint())?;
        let value = change.value.to_string();
        let (remaining, all) = (batch.remaining.to_string(), batch.domains.join(","));
        let mut variables = vec![
            ("CERTBOT_DOMAIN", domain.as_str()),
            ("CERTBOT_IDENTIFIER", domain.as_str()),
            ("CERTBOT_VALIDATION", &value),
            ("CERTBOT_REMAINING_CHALLENGES", &remaining),
            ("CERTBOT_ALL_DOMAINS", &all),
            ("CERTBOT_ALL_IDENTIFIERS", &all),
        ];
        match change.action {
            Action::Add => self.auth.run(&[], &variables).await.map(Some),
            Action::Remove => {
                let said = challenge.said.as_deref().unwrap_or_default();
                variables.push(("CERTBOT_AUTH_OUTPUT", said));
                self.cleanup.run(&[], &variables).await.map(|_| None)
            }
        }
    }
}

const AUTH: &str = "auth-hook";
const CLEANUP: &str = "cleanup-hook";
