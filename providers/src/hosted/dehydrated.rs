//! dehydrated's hook: one script that is called with what has happened, of which two things are about DNS.

use std::sync::Arc;

use async_trait::async_trait;
use dnseal_core::dns::Action;
use dnseal_core::dns::Applied;
use dnseal_core::dns::Capabilities;
use dnseal_core::dns::DnsProvider;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Outcome;
use dnseal_core::dns::ProviderError;
use dnseal_core::dns::Receipt;
use dnseal_core::dns::TxtChange;
use dnseal_core::dns::WriteSafety;
use dnseal_core::dns::Zone;

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
    docs: "https://github.com/dehydrated-io/dehydrated/blob/master/docs/dns-verification.md",
    integration: Integration::Hosted,
    kind: "dehydrated-hook",
    permissions: "\
A hook that dehydrated calls, and whatever it needs. It is called once for each value:
    HOOK deploy_challenge example.com TOKEN VALUE
    HOOK clean_challenge example.com TOKEN VALUE
and for nothing else. With `chain`, as with dehydrated's HOOK_CHAIN, it is called once for all values of a zone, one triple after the other.
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
        Setting {
            aliases: &["hook-chain"],
            default: Some("false"),
            env: &["HOOK_CHAIN"],
            form: Form::Flag,
            help: "Call it once for all values of a zone, as with dehydrated's HOOK_CHAIN=yes",
            key: CHAIN,
            required: false,
        },
        script::ENV_SETTING,
        script::TIMEOUT_SETTING,
    ],
    title: "a hook as dehydrated calls it",
    write_safety: WriteSafety::ReadModifyWrite,

    build,
};

fn build(settings: &Checked, context: &Context) -> Result<Arc<dyn DnsProvider>, SettingsError> {
    let hook = Hook {
        script: Script::new(COMMAND, settings, context)?,
    };
    Ok(match settings.flag(CHAIN)? {
        true => Arc::new(Chain {
            hook: OneAtATime::new(hook),
        }),
        false => Arc::new(OneAtATime::new(hook)),
    })
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

    fn capabilities(&self) -> Capabilities {
        challenge_names_only(self.script.capabilities())
    }

    async fn write(
        &self,
        change: &TxtChange,
        challenge: &Challenge,
        _batch: &Batch,
    ) -> Result<Option<String>, ProviderError> {
        let mut arguments = vec![handler(change.action).to_owned()];
        arguments.extend(self.triple(change, challenge)?);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        self.script.run(&arguments, &[]).await.map(|_| None)
    }
}

impl Hook {
    /// What dehydrated says of one challenge.
    fn triple(
        &self,
        change: &TxtChange,
        challenge: &Challenge,
    ) -> Result<[String; 3], ProviderError> {
        let domain = challenge.domain_at(&change.owner, self.endpoint())?;
        // Hooks for DNS have no use for it, and want its place filled.
        let token = challenge.token.as_deref().unwrap_or("-");
        Ok([
            domain.to_string(),
            token.to_owned(),
            change.value.to_string(),
        ])
    }
}

fn handler(action: Action) -> &'static str {
    match action {
        Action::Add => "deploy_challenge",
        Action::Remove => "clean_challenge",
    }
}

/// A hook that takes many challenges in one call.
#[derive(Debug)]
struct Chain {
    hook: OneAtATime<Hook>,
}

#[async_trait]
impl DnsProvider for Chain {
    fn capabilities(&self) -> Capabilities {
        self.hook.capabilities()
    }

    fn endpoint(&self) -> String {
        self.hook.endpoint()
    }

    async fn zone_of(&self, owner: &DomainName) -> Result<Zone, ProviderError> {
        self.hook.zone_of(owner).await
    }

    /// One call for what is added, and one for what is removed. A call that fails says nothing of its parts, so it fails for all of them.
    async fn apply(&self, zone: &Zone, changes: &[TxtChange]) -> Result<Applied, ProviderError> {
        let (hook, _turn) = self.hook.in_turn().await;
        let mut outcomes: Vec<Outcome> = Vec::with_capacity(changes.len());
        let mut calls = [(Action::Add, Vec::new()), (Action::Remove, Vec::new())];
        for change in changes {
            let challenge = Challenge::of(change);
            let triple = match change.owner.is_within(&zone.name) {
                // Alone, it is told with what kind of failure it is.
                true if changes.len() == 1 => Ok(hook.triple(change, &challenge)?),
                true => hook
                    .triple(change, &challenge)
                    .map_err(|error| error.to_string()),
                false => Err(format!("{} is not in the zone {}", change.owner, zone.name)),
            };
            outcomes.push(match triple {
                Ok(triple) => {
                    for (action, arguments) in &mut calls {
                        if *action == change.action {
                            arguments.extend(triple.clone());
                        }
                    }
                    Outcome::Applied {
                        handle: challenge.handle(change.action, None),
                    }
                }
                Err(reason) => Outcome::Refused { reason },
            });
        }
        for (action, arguments) in &calls {
            if arguments.is_empty() {
                continue;
            }
            let words = [handler(*action)].into_iter();
            let words: Vec<&str> = words.chain(arguments.iter().map(String::as_str)).collect();
            hook.script.run(&words, &[]).await?;
        }
        Ok(Applied {
            outcomes,
            receipt: Receipt::default(),
        })
    }
}

const COMMAND: &str = "command";
const CHAIN: &str = "chain";
