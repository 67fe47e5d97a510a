//! Which provider serves which name: the longest configured suffix of the final owner wins.

use std::sync::Arc;

use crate::dns::DnsProvider;
use crate::dns::DomainName;

/// A provider under the name it has in the configuration.
#[derive(Clone, Debug)]
pub struct NamedProvider {
    /// The name: what heads and messages say.
    pub name: String,
    /// The provider.
    pub provider: Arc<dyn DnsProvider>,
}

/// Who serves what.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    providers: Vec<NamedProvider>,
    table: Vec<(DomainName, String)>,
    fallback: Option<String>,
}

impl Routes {
    /// `table` sends names within a suffix to a provider, and `fallback` takes the rest.
    pub fn new(
        providers: Vec<NamedProvider>,
        mut table: Vec<(DomainName, String)>,
        fallback: Option<String>,
    ) -> Result<Self, RouteError> {
        let dangling = table
            .iter()
            .map(|(_, name)| name)
            .chain(&fallback)
            .find(|name| !providers.iter().any(|p| p.name == **name));
        if let Some(name) = dangling {
            return Err(RouteError::UnknownProvider { name: name.clone() });
        }
        table.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.label_count()));
        Ok(Self {
            providers,
            table,
            fallback,
        })
    }

    /// The provider that serves `owner`.
    pub fn provider_for(&self, owner: &DomainName) -> Result<&NamedProvider, RouteError> {
        let name = self
            .table
            .iter()
            .find(|(suffix, _)| owner.is_within(suffix))
            .map(|(_, name)| name)
            .or(self.fallback.as_ref())
            .ok_or_else(|| RouteError::NoProvider {
                owner: owner.clone(),
                configured: self
                    .table
                    .iter()
                    .map(|(suffix, _)| suffix.clone())
                    .collect(),
            })?;
        self.by_name(name)
    }

    /// The provider with this name in the configuration.
    pub fn by_name(&self, name: &str) -> Result<&NamedProvider, RouteError> {
        self.providers
            .iter()
            .find(|p| p.name == name)
            .ok_or_else(|| RouteError::UnknownProvider {
                name: name.to_owned(),
            })
    }
}

/// Why no provider can be told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RouteError {
    /// No suffix fits, and there is no fallback.
    #[error("no provider is configured for {owner}")]
    NoProvider {
        /// The final owner name.
        owner: DomainName,
        /// The suffixes there are.
        configured: Vec<DomainName>,
    },
    /// A name that is used but not configured.
    #[error("no provider `{name}` is configured")]
    UnknownProvider {
        /// The name.
        name: String,
    },
}

impl RouteError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoProvider { owner, configured } if configured.is_empty() => Some(format!(
                "name one with `--provider KIND`, or put a zone that contains {owner} under `zones:`"
            )),
            Self::NoProvider { owner, configured } => {
                let configured: Vec<&str> = configured.iter().map(DomainName::as_str).collect();
                Some(format!(
                    "put a zone that contains {owner} under `zones:`; configured are {}",
                    configured.join(", ")
                ))
            }
            Self::UnknownProvider { name } => Some(format!(
                "put `{name}` under `providers:`, as it was when its values were written"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::testing::MemoryProvider;

    fn routes(table: &[(&str, &str)], fallback: Option<&str>) -> Result<Routes, RouteError> {
        let providers = ["one", "two"]
            .map(|name| NamedProvider {
                name: name.to_owned(),
                provider: Arc::new(MemoryProvider::default()),
            })
            .to_vec();
        let table = table
            .iter()
            .map(|(suffix, name)| (suffix.parse().unwrap(), (*name).to_owned()))
            .collect();
        Routes::new(providers, table, fallback.map(str::to_owned))
    }

    #[test]
    fn the_longest_suffix_wins() {
        let routes = routes(&[("a.test", "one"), ("b.a.test", "two")], None).unwrap();
        let of = |owner: &str| {
            routes
                .provider_for(&owner.parse().unwrap())
                .map(|p| p.name.clone())
        };
        assert_eq!(of("_acme-challenge.a.test").unwrap(), "one");
        assert_eq!(of("_acme-challenge.b.a.test").unwrap(), "two");
        assert_eq!(of("b.a.test").unwrap(), "two");
        let error = of("_acme-challenge.aa.test").unwrap_err();
        assert!(
            error.hint().unwrap().contains("b.a.test, a.test"),
            "{error:?}"
        );
    }

    #[test]
    fn a_fallback_takes_the_rest_and_nothing_dangles() {
        let fallen = routes(&[("a.test", "one")], Some("two")).unwrap();
        assert_eq!(
            fallen.provider_for(&"x.org".parse().unwrap()).unwrap().name,
            "two"
        );
        assert!(routes(&[("a.test", "three")], None).is_err());
        assert!(routes(&[], Some("three")).is_err());
    }
}
