//! How to find name servers, and when a value counts as served.

use std::net::SocketAddr;
use std::str::FromStr;
use std::time::Duration;

use dnseal_core::dns::AskerOptions;
use dnseal_core::dns::DiscoveryOptions;
use dnseal_core::dns::Family;
use dnseal_core::dns::PropagationPolicy;
use dnseal_core::dns::Quorum;

use crate::args::ProbeArgs;
use crate::config;
use crate::config::Config;
use crate::config::DurationText;
use crate::config::Mode;
use crate::config::nearest;
use crate::config::parse_server;
use crate::error::CliError;

/// Everything that looking at DNS needs to know.
#[derive(Clone, Debug)]
pub(crate) struct Probing {
    pub(crate) asker: AskerOptions,
    pub(crate) discovery: DiscoveryOptions,
    pub(crate) policy: PropagationPolicy,
}

/// Flags and environment before the configuration.
pub(crate) fn probing(args: &ProbeArgs, config: &Config) -> Result<Probing, CliError> {
    let configured = &config.propagation;
    match choice("--propagation", args.propagation.as_deref(), MODES)?.or(configured.mode) {
        // All that there is so far.
        None | Some(Mode::Auto | Mode::Authoritative) => {}
    }

    let mut discovery = DiscoveryOptions {
        resolvers: servers("--resolver", &args.resolver, &configured.resolvers)?,
        nameservers: servers("--nameserver", &args.nameserver, &configured.nameservers)?,
        zone_nameservers: Vec::new(),
    };
    if discovery.nameservers.is_empty() {
        discovery.zone_nameservers = config
            .zones
            .iter()
            .filter(|zone| !zone.nameservers.is_empty())
            .map(|zone| (zone.suffix.clone(), zone.nameservers.clone()))
            .collect();
    }

    let family = choice("--family", args.family.as_deref(), FAMILIES)?.or(configured.family);
    let asker = AskerOptions {
        family: match family {
            Some(config::Family::Ipv4) => Family::V4,
            Some(config::Family::Ipv6) => Family::V6,
            Some(config::Family::Both) | None => Family::Both,
        },
        ..AskerOptions::default()
    };

    let default = PropagationPolicy::default();
    let quorum = choice("--quorum", args.quorum.as_deref(), QUORUMS)?.or(configured.quorum);
    let timeout = duration("--propagation-timeout", args.propagation_timeout.as_deref())?;
    let settle = duration("--settle", args.settle.as_deref())?;
    let policy = PropagationPolicy {
        quorum: match quorum {
            Some(config::Quorum::Any) => Quorum::Any,
            Some(config::Quorum::Majority) => Quorum::Majority,
            Some(config::Quorum::All) | None => Quorum::All,
        },
        timeout: timeout.or(configured.timeout).unwrap_or(default.timeout),
        settle: settle.or(configured.settle).unwrap_or(default.settle),
        ..default
    };
    Ok(Probing {
        asker,
        discovery,
        policy,
    })
}

fn servers(
    flag: &str,
    given: &[String],
    configured: &[SocketAddr],
) -> Result<Vec<SocketAddr>, CliError> {
    let given: Vec<&String> = given.iter().filter(|text| !text.is_empty()).collect();
    if given.is_empty() {
        return Ok(configured.to_vec());
    }
    given
        .into_iter()
        .map(|text| parse_server(text).map_err(|problem| wrong(flag, &problem)))
        .collect()
}

fn duration(flag: &str, given: Option<&str>) -> Result<Option<Duration>, CliError> {
    given
        .filter(|text| !text.is_empty())
        .map(|text| {
            DurationText::from_str(text)
                .map(|d| d.0)
                .map_err(|problem| wrong(flag, &problem))
        })
        .transpose()
}

fn choice<T: Copy>(
    flag: &str,
    given: Option<&str>,
    known: &[(&str, T)],
) -> Result<Option<T>, CliError> {
    let Some(given) = given.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    if let Some((_, value)) = known.iter().find(|(name, _)| *name == given) {
        return Ok(Some(*value));
    }
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let hint = match nearest(given, names.iter().copied()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("there is {}", names.join(", ")),
    };
    Err(CliError::usage(
        format!("`{given}` does not fit {flag}"),
        hint,
    ))
}

fn wrong(flag: &str, problem: &str) -> CliError {
    CliError::Usage {
        message: format!("{flag}: {problem}"),
        hint: None,
    }
}

const FAMILIES: &[(&str, config::Family)] = &[
    ("both", config::Family::Both),
    ("ipv4", config::Family::Ipv4),
    ("ipv6", config::Family::Ipv6),
];
const MODES: &[(&str, Mode)] = &[("auto", Mode::Auto), ("authoritative", Mode::Authoritative)];
const QUORUMS: &[(&str, config::Quorum)] = &[
    ("all", config::Quorum::All),
    ("any", config::Quorum::Any),
    ("majority", config::Quorum::Majority),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_beat_the_configuration() {
        let mut config = Config::default();
        config.propagation.quorum = Some(config::Quorum::Any);
        config.propagation.timeout = Some(Duration::from_secs(7));
        let args = ProbeArgs {
            quorum: Some("majority".into()),
            nameserver: vec![
                "127.0.0.1:5353".into(),
                "[::1]:54".into(),
                "2001:db8::1".into(),
            ],
            ..ProbeArgs::default()
        };
        let found = probing(&args, &config).unwrap();
        assert_eq!(found.policy.quorum, Quorum::Majority);
        assert_eq!(found.policy.timeout, Duration::from_secs(7));
        let servers: Vec<String> = found
            .discovery
            .nameservers
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(servers, ["127.0.0.1:5353", "[::1]:54", "[2001:db8::1]:53"]);
    }

    #[test]
    fn near_misses_are_suggested() {
        let args = ProbeArgs {
            quorum: Some("majorty".into()),
            ..ProbeArgs::default()
        };
        let error = probing(&args, &Config::default()).unwrap_err();
        assert_eq!(error.hint().unwrap(), "did you mean `majority`?");
        let args = ProbeArgs {
            nameserver: vec!["ns1.example.com".into()],
            ..ProbeArgs::default()
        };
        let error = probing(&args, &Config::default()).unwrap_err();
        assert!(error.to_string().starts_with("--nameserver: "), "{error}");
    }
}
