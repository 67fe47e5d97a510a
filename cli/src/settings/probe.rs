//! How to find name servers, and when a value counts as served.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use dnseal_core::dns;
use dnseal_core::dns::AskerOptions;
use dnseal_core::dns::Clients;
use dnseal_core::dns::DiscoveryOptions;
use dnseal_core::dns::DomainName;
use dnseal_core::dns::EncryptedEndpoint;
use dnseal_core::dns::EncryptedResolver;
use dnseal_core::dns::Family;
use dnseal_core::dns::PUBLIC_RESOLVERS;
use dnseal_core::dns::PropagationPolicy;
use dnseal_core::dns::Quorum;
use dnseal_core::dns::Scouting;
use dnseal_core::dns::Upstream;
use dnseal_core::dns::ZoneWays;

use crate::args::ProbeArgs;
use crate::commands::work::resolver_clients;
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
    /// For single zones and what is below them, the deepest first.
    pub(crate) zones: Vec<(DomainName, PropagationPolicy)>,
    /// What resolvers over HTTPS and TLS are trusted through, beside the system's roots.
    roots: Arc<Mutex<Vec<PathBuf>>>,
}

impl Probing {
    /// Trusts these files, too, when resolvers are asked over HTTPS or TLS.
    pub(crate) fn trust(&self, roots: &[PathBuf]) {
        let mut trusted = self.roots.lock().unwrap_or_else(PoisonError::into_inner);
        for root in roots {
            if !trusted.contains(root) {
                trusted.push(root.clone());
            }
        }
    }
}

/// Flags and environment before the configuration; there a zone before its provider, and that before what is for all.
pub(crate) fn probing(args: &ProbeArgs, config: &Config) -> Result<Probing, CliError> {
    let roots = Arc::new(Mutex::new(config.roots().to_vec()));
    let clients = resolver_clients(Arc::clone(&roots));
    let flags = Flags::read(args)?;
    let configured = &config.propagation;

    let mut base = vec![configured];
    if let ([only], true) = (config.providers.as_slice(), config.zones.is_empty()) {
        base.push(&only.propagation);
    }
    let top = flags.over(&base);
    let policy = policy(&top, &clients)?;
    let mut zones = Vec::new();
    let mut zone_ways = Vec::new();
    for zone in &config.zones {
        let provider = config.provider(&zone.provider).map(|p| &p.propagation);
        let layers: Vec<&config::Propagation> =
            [Some(configured), provider, Some(&zone.propagation)]
                .into_iter()
                .flatten()
                .collect();
        let merged = flags.over(&layers);
        if merged != top {
            let policy = self::policy(&merged, &clients)?;
            let ways = ZoneWays {
                encrypted: encrypted(&merged, &clients)?,
                family: policy.family,
                scouting: scouting(&merged),
            };
            zone_ways.push((zone.suffix.clone(), ways));
            zones.push((zone.suffix.clone(), policy));
        }
    }

    let mut discovery = DiscoveryOptions {
        resolvers: top.resolvers.clone(),
        nameservers: top.nameservers.clone(),
        encrypted: encrypted(&top, &clients)?,
        scouting: scouting(&top),
        zone_ways,
        ..DiscoveryOptions::default()
    };
    for zone in &config.zones {
        let provider = config.provider(&zone.provider).map(|p| &p.propagation);
        let layers = [Some(&zone.propagation), provider];
        let own = |list: fn(&config::Propagation) -> &Vec<SocketAddr>| {
            let mut lists = layers.into_iter().flatten().map(list);
            lists.find(|list| !list.is_empty()).cloned()
        };
        if flags.nameservers.is_empty()
            && let Some(servers) = own(|layer| &layer.nameservers)
        {
            discovery
                .zone_nameservers
                .push((zone.suffix.clone(), servers));
        }
        if flags.resolvers.is_empty()
            && let Some(resolvers) = own(|layer| &layer.resolvers)
        {
            discovery
                .zone_resolvers
                .push((zone.suffix.clone(), resolvers));
        }
    }
    let asker = AskerOptions {
        // Addresses are searched for whatever zone wants some of them.
        family: match zones.iter().all(|(_, zone)| zone.family == policy.family) {
            true => policy.family,
            false => Family::Both,
        },
        ..AskerOptions::default()
    };
    Ok(Probing {
        asker,
        discovery,
        policy,
        zones,
        roots,
    })
}

/// What the command line and the environment say, in the form of a layer of the configuration.
struct Flags(config::Propagation);

impl std::ops::Deref for Flags {
    type Target = config::Propagation;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Flags {
    fn read(args: &ProbeArgs) -> Result<Self, CliError> {
        let doh: Vec<&String> = args.doh.iter().filter(|text| !text.is_empty()).collect();
        let encrypted = match doh.as_slice() {
            [] => None,
            [none] if none.as_str() == "none" => Some(Vec::new()),
            urls => Some(
                urls.iter()
                    .map(|url| url.parse().map_err(|e| wrong("--doh", &format!("{e}"))))
                    .collect::<Result<Vec<EncryptedEndpoint>, CliError>>()?,
            ),
        };
        Ok(Self(config::Propagation {
            encrypted,
            fallback_wait: duration("--fallback-wait", args.fallback_wait.as_deref())?,
            family: choice("--family", args.family.as_deref(), FAMILIES)?,
            first_look: None,
            mode: choice("--propagation", args.propagation.as_deref(), MODES)?,
            nameservers: servers("--nameserver", &args.nameserver)?,
            quorum: choice("--quorum", args.quorum.as_deref(), QUORUMS)?,
            recursive_too: None,
            resolvers: servers("--resolver", &args.resolver)?,
            settle: duration("--settle", args.settle.as_deref())?,
            timeout: patience("--propagation-timeout", args.propagation_timeout.as_deref())?,
        }))
    }

    /// These layers, each over the one before, and the flags over all of them.
    fn over(&self, layers: &[&config::Propagation]) -> config::Propagation {
        let mut all = config::Propagation::default();
        for layer in layers.iter().copied().chain([&self.0]) {
            let layer = layer.clone();
            all = config::Propagation {
                encrypted: layer.encrypted.or(all.encrypted),
                fallback_wait: layer.fallback_wait.or(all.fallback_wait),
                family: layer.family.or(all.family),
                first_look: layer.first_look.or(all.first_look),
                mode: layer.mode.or(all.mode),
                nameservers: either(layer.nameservers, all.nameservers),
                quorum: layer.quorum.or(all.quorum),
                recursive_too: layer.recursive_too.or(all.recursive_too),
                resolvers: either(layer.resolvers, all.resolvers),
                settle: layer.settle.or(all.settle),
                timeout: layer.timeout.or(all.timeout),
            };
        }
        all
    }
}

fn either(first: Vec<SocketAddr>, second: Vec<SocketAddr>) -> Vec<SocketAddr> {
    match first.is_empty() {
        true => second,
        false => first,
    }
}

fn encrypted(
    said: &config::Propagation,
    clients: &Clients,
) -> Result<Vec<EncryptedResolver>, CliError> {
    let endpoints = match &said.encrypted {
        Some(endpoints) => endpoints.clone(),
        None => PUBLIC_RESOLVERS
            .iter()
            .map(|(url, ..)| url.parse().map_err(|e| wrong("--doh", &format!("{e}"))))
            .collect::<Result<Vec<EncryptedEndpoint>, CliError>>()?,
    };
    let resolver = |endpoint| EncryptedResolver::new(endpoint, clients.clone());
    Ok(endpoints.into_iter().map(resolver).collect())
}

/// When resolvers over HTTPS or TLS find zones.
fn scouting(said: &config::Propagation) -> Scouting {
    match said.mode {
        Some(Mode::Doh) => Scouting::Always,
        Some(Mode::Authoritative) => Scouting::Never,
        Some(Mode::Auto | Mode::Provider | Mode::Wait) | None => Scouting::WhenClosed,
    }
}

fn policy(said: &config::Propagation, clients: &Clients) -> Result<PropagationPolicy, CliError> {
    let default = PropagationPolicy::default();
    let upstreams = encrypted(said, clients)?.into_iter();
    let resolvers: Vec<Upstream> = upstreams.map(Upstream::Encrypted).collect();
    let recursive_too = match said.recursive_too {
        Some(true) if said.resolvers.is_empty() => resolvers.clone(),
        // Resolvers that somebody has named are those that have to agree.
        Some(true) => {
            let named = said.resolvers.iter().copied();
            named.map(Upstream::Resolver).collect()
        }
        Some(false) | None => Vec::new(),
    };
    if said.recursive_too == Some(true) && recursive_too.is_empty() {
        return Err(CliError::usage(
            "resolvers are to agree (`recursive-too`), and there is none",
            "name some under `resolvers:`, or over HTTPS or TLS under `doh:` or `dot:`",
        ));
    }
    if said.mode == Some(Mode::Doh) && resolvers.is_empty() {
        return Err(CliError::usage(
            "the evidence is to come from resolvers over HTTPS or TLS, and there is none",
            "name one with `--doh URL` or under `doh:`",
        ));
    }
    Ok(PropagationPolicy {
        mode: match said.mode {
            Some(Mode::Auto) | None => dns::Mode::Auto,
            Some(Mode::Authoritative) => dns::Mode::Authoritative,
            Some(Mode::Doh) => dns::Mode::Doh,
            Some(Mode::Provider) => dns::Mode::Provider,
            Some(Mode::Wait) => dns::Mode::Wait,
        },
        family: match said.family {
            Some(config::Family::Ipv4) => Family::V4,
            Some(config::Family::Ipv6) => Family::V6,
            Some(config::Family::Both) | None => Family::Both,
        },
        resolvers,
        recursive_too,
        first_look: said.first_look.unwrap_or(default.first_look),
        fallback_wait: said.fallback_wait.unwrap_or(default.fallback_wait),
        quorum: match said.quorum {
            Some(config::Quorum::Any) => Quorum::Any,
            Some(config::Quorum::Majority) => Quorum::Majority,
            Some(config::Quorum::All) | None => Quorum::All,
        },
        timeout: said.timeout.unwrap_or(default.timeout),
        settle: said.settle.unwrap_or(default.settle),
        ..default
    })
}

fn servers(flag: &str, given: &[String]) -> Result<Vec<SocketAddr>, CliError> {
    given
        .iter()
        .filter(|text| !text.is_empty())
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

/// A duration in which something can happen.
fn patience(flag: &str, given: Option<&str>) -> Result<Option<Duration>, CliError> {
    match duration(flag, given)? {
        Some(Duration::ZERO) => Err(wrong(
            flag,
            "nothing is seen in no time; name a time such as `5m`, or leave it out",
        )),
        duration => Ok(duration),
    }
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
const MODES: &[(&str, Mode)] = &[
    ("auto", Mode::Auto),
    ("authoritative", Mode::Authoritative),
    ("doh", Mode::Doh),
    ("provider", Mode::Provider),
    ("wait", Mode::Wait),
];
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
    fn a_zone_goes_before_its_provider_and_that_before_all() {
        let config = Config::of(
            "
providers:
  p: { kind: rfc2136, server: 192.0.2.1, propagation: { quorum: any, settle: 3s } }
zones:
  a.test: { provider: p, propagation: { mode: wait, settle: 4s, resolvers: [192.0.2.9] } }
  b.test: { provider: p }
propagation: { timeout: 7s, settle: 1s, doh: ['https://dns.test/q'] }
",
        )
        .unwrap();
        let found = probing(&ProbeArgs::default(), &config).unwrap();
        assert_eq!(found.policy.settle, Duration::from_secs(1));
        assert_eq!(found.policy.resolvers[0].to_string(), "https://dns.test/q");
        let of = |zone: &str| {
            let zones = &found.zones;
            let policy = zones.iter().find(|(suffix, _)| suffix.as_str() == zone);
            policy.unwrap().1.clone()
        };
        assert_eq!(of("a.test").mode, dns::Mode::Wait);
        assert_eq!(of("a.test").settle, Duration::from_secs(4));
        assert_eq!(of("b.test").settle, Duration::from_secs(3));
        assert_eq!(of("b.test").quorum, Quorum::Any);
        assert_eq!(of("b.test").timeout, Duration::from_secs(7));
        assert_eq!(found.discovery.zone_resolvers.len(), 1);

        let args = ProbeArgs {
            propagation: Some("doh".into()),
            doh: vec!["tls://192.0.2.1#dns.test".into()],
            ..ProbeArgs::default()
        };
        let found = probing(&args, &config).unwrap();
        assert_eq!(found.zones[0].1.mode, dns::Mode::Doh);
        assert_eq!(found.discovery.scouting, Scouting::Always);
        assert_eq!(found.discovery.encrypted.len(), 1);
    }

    #[test]
    fn a_zone_says_how_it_is_found_and_proven() {
        let config = Config::of(
            "
providers:
  p: { kind: rfc2136, server: 192.0.2.1 }
zones:
  a.test: { provider: p, propagation: { mode: doh, doh: ['https://dns.test/q'], family: ipv4 } }
  b.test: { provider: p, propagation: { mode: authoritative, nameservers: [192.0.2.7] } }
  c.test: { provider: p, propagation: { recursive-too: true, resolvers: [192.0.2.9] } }
propagation: { nameservers: [192.0.2.6] }
",
        )
        .unwrap();
        let found = probing(&ProbeArgs::default(), &config).unwrap();
        assert_eq!(found.asker.family, Family::Both);
        assert_eq!(found.discovery.scouting, Scouting::WhenClosed);
        let of = |zone: &str| {
            let ways = &found.discovery.zone_ways;
            let ways = ways.iter().find(|(suffix, _)| suffix.as_str() == zone);
            ways.unwrap().1.clone()
        };
        let a = of("a.test");
        assert_eq!((a.scouting, a.family), (Scouting::Always, Family::V4));
        assert_eq!(a.encrypted.len(), 1);
        assert_eq!(of("b.test").scouting, Scouting::Never);
        // Servers for one zone go before those for all.
        let servers: Vec<&str> = found
            .discovery
            .zone_nameservers
            .iter()
            .map(|(zone, _)| zone.as_str())
            .collect();
        assert_eq!(servers, ["b.test"]);
        let c = found
            .zones
            .iter()
            .find(|(zone, _)| zone.as_str() == "c.test")
            .unwrap();
        assert_eq!(c.1.recursive_too[0].to_string(), "192.0.2.9:53");
        assert!(matches!(c.1.resolvers[0], Upstream::Encrypted(_)));

        let args = ProbeArgs {
            nameserver: vec!["192.0.2.8".into()],
            ..ProbeArgs::default()
        };
        let found = probing(&args, &config).unwrap();
        assert!(found.discovery.zone_nameservers.is_empty());
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
