//! Where challenges live, as far as the user says it.

use dnseal_core::dns::Delegation;
use dnseal_core::dns::DelegationRules;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::Identifier;

use crate::args::ProviderArgs;
use crate::config::Config;
use crate::config::nearest;
use crate::error::CliError;

/// Flags and environment before the configuration.
pub(crate) fn delegation(
    args: &ProviderArgs,
    config: &Config,
) -> Result<DelegationRules, CliError> {
    let mut fallback = match args.delegation.as_deref().filter(|text| !text.is_empty()) {
        None | Some("follow") => Delegation::Follow,
        Some("none") => Delegation::Here,
        Some(other) => {
            return Err(CliError::usage(
                format!("`{other}` does not fit --delegation"),
                match nearest(other, ["follow", "none"]) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => "there is follow, none; a target is given with `--challenge-alias`"
                        .to_owned(),
                },
            ));
        }
    };
    // What is said for everything on the command line leaves nothing to the configuration.
    let mut table = match args.delegation.as_deref().filter(|text| !text.is_empty()) {
        Some(_) => Vec::new(),
        None => config.delegation.clone(),
    };
    for text in args.challenge_alias.iter().filter(|text| !text.is_empty()) {
        match text.split_once('=') {
            None => {
                fallback = Delegation::To(text.trim().parse()?);
                table.clear();
            }
            Some((name, target)) => {
                let name: Identifier = name.trim().parse()?;
                let target: DomainName = target.trim().parse()?;
                table.retain(|(other, _)| other != name.base());
                table.push((name.base().clone(), Delegation::To(target)));
            }
        }
    }
    Ok(DelegationRules::new(table, fallback))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_beat_the_configuration() {
        let name = |text: &str| text.parse::<DomainName>().unwrap();
        let config = Config {
            delegation: vec![
                (name("a.test"), Delegation::Here),
                (name("b.test"), Delegation::To(name("b.acme.test"))),
            ],
            ..Config::default()
        };
        let of = |args: &ProviderArgs, text: &str| {
            let rules = delegation(args, &config).unwrap();
            rules.of(&name(text)).clone()
        };
        let none = ProviderArgs::default();
        assert_eq!(of(&none, "_acme-challenge.a.test"), Delegation::Here);
        assert_eq!(of(&none, "_acme-challenge.c.test"), Delegation::Follow);
        let one = ProviderArgs {
            challenge_alias: vec!["*.a.test=x.acme.test".to_owned()],
            ..ProviderArgs::default()
        };
        assert_eq!(
            of(&one, "_acme-challenge.a.test"),
            Delegation::To(name("x.acme.test"))
        );
        assert_eq!(
            of(&one, "_acme-challenge.b.test"),
            Delegation::To(name("b.acme.test"))
        );
        let follow = ProviderArgs {
            delegation: Some("follow".to_owned()),
            ..ProviderArgs::default()
        };
        assert_eq!(of(&follow, "_acme-challenge.a.test"), Delegation::Follow);
        let wrong = ProviderArgs {
            delegation: Some("folow".to_owned()),
            ..ProviderArgs::default()
        };
        let error = delegation(&wrong, &config).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `follow`?");
    }
}
