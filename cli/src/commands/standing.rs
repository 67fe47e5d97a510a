//! Where every certificate stands: what is there, what is wanted, when it is due and why then.
//!
//! One look at the heads and the configuration, shared by `renew`, `list` and whoever stays in the foreground. CAs are asked
//! only by [`ask`], and only about what their last answer no longer covers.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use dnseal_core::deploy::Material;
use dnseal_core::issue::Terms;
use dnseal_core::renew::Advisor;
use dnseal_core::renew::Due;
use dnseal_core::renew::Policy;
use dnseal_core::renew::Reason;
use dnseal_core::renew::due;
use dnseal_core::store::CertId;
use dnseal_core::store::Head;
use dnseal_core::store::SealedStore;
use dnseal_core::store::StoreError;
use dnseal_core::store::heads_as;
use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;

use crate::commands::App;
use crate::commands::work::Work;
use crate::commands::work::transport;
use crate::error::CliError;
use crate::settings::Order;
use crate::settings::Recipes;
use crate::settings::Secrets;
use crate::settings::order_of;

/// Where one certificate stands.
#[derive(Debug)]
pub(super) struct Standing {
    pub(super) id: CertId,
    /// What the store has of it.
    pub(super) head: Option<Head>,
    pub(super) due: Due,
    /// What to trust its CA's HTTPS through, beside the system's roots.
    pub(super) roots: Vec<PathBuf>,
}

impl Standing {
    /// Whether an earlier run has left something to clean up, though nothing has to be ordered.
    pub(super) fn has_leftovers(&self) -> bool {
        let head = self.head.as_ref();
        head.is_some_and(|head| !head.published.is_empty() && head.current.is_some())
    }

    /// The same where it is not due and nobody is asked about it: how it would be asked for is for another run.
    fn without_what_is_for_later(mut self, now: Timestamp) -> Self {
        if now < self.due.next()
            && !self.has_leftovers()
            && !is_worth_asking(&self, now)
            && let Some(head) = &mut self.head
        {
            head.renewal.recipe = None;
            head.wanted.names = Vec::new();
        }
        self
    }

    fn new(
        app: &App,
        recipes: &Recipes<'_>,
        id: CertId,
        head: Option<Head>,
        now: Timestamp,
    ) -> Result<Self, (CertId, CliError)> {
        let looked = order(app, recipes, &id, head.as_ref(), Secrets::Leave).map(|order| {
            let wanted = order.request.wanted();
            let policy = &order.request.renewal.policy;
            let head = match &head {
                Some(head) => due(head, &wanted, now, policy),
                None => due(&Head::new(id.clone(), wanted.clone()), &wanted, now, policy),
            };
            (head, order.roots)
        });
        match looked {
            Ok((due, roots)) => Ok(Self {
                id,
                head,
                due,
                roots,
            }),
            Err(error) => Err((id, error)),
        }
    }
}

/// What is wanted of a certificate now, as whoever renews it asks for it.
pub(super) fn order(
    app: &App,
    recipes: &Recipes<'_>,
    id: &CertId,
    head: Option<&Head>,
    secrets: Secrets,
) -> Result<Order, CliError> {
    let certificate = app.config.certificate(id);
    let args = recipes.of(head, certificate)?;
    let names = match (certificate, head) {
        (Some(certificate), _) => certificate.names.clone(),
        (None, Some(head)) => head.wanted.names.clone(),
        (None, None) => return Err(CliError::NoCertificate(id.clone())),
    };
    // Who has no certificate there has not agreed by having one.
    let agreed = args.ca.agree_tos
        || app.config.agree_tos
        || head.is_some_and(|head| head.current.is_some());
    let terms = match agreed {
        true => Terms::Agreed,
        false => Terms::NotAgreed,
    };
    order_of(
        &args,
        &app.config,
        &terms,
        id.clone(),
        names,
        certificate,
        secrets,
    )
}

/// When the certificate of `head` is due. What cannot be told of how it is asked for now is as it was.
pub(super) fn due_of(app: &App, recipes: &Recipes<'_>, head: &Head, now: Timestamp) -> Due {
    match order(app, recipes, &head.id, Some(head), Secrets::Leave) {
        Ok(order) => {
            let policy = &order.request.renewal.policy;
            due(head, &order.request.wanted(), now, policy)
        }
        Err(_) => due(head, &head.wanted, now, &Policy::default()),
    }
}

/// Where certificates stand, by name, and those of which that cannot be told.
pub(super) type Standings = Vec<Result<Standing, (CertId, CliError)>>;

/// Where the certificates `only` stand, or all of store and configuration. Nobody is asked.
///
/// Of what is not due no more is held than says when it is, unless everything is wanted `whole`.
pub(super) async fn standings(
    app: &App,
    recipes: &Recipes<'_>,
    only: &[CertId],
    whole: bool,
    now: Timestamp,
) -> Result<Standings, CliError> {
    let stand = |id: CertId, head: Result<Option<Head>, CliError>| {
        let standing = match head {
            Ok(head) => Standing::new(app, recipes, id.clone(), head, now),
            Err(error) => Err((id.clone(), error)),
        };
        let standing = standing.map(|standing| match whole {
            true => standing,
            false => standing.without_what_is_for_later(now),
        });
        (id, standing)
    };
    let mut found: BTreeMap<CertId, Result<Standing, (CertId, CliError)>> = BTreeMap::new();
    match (app.places.open_existing()?, only) {
        (Some(store), []) => {
            let standing = |id, head: Result<Head, StoreError>| {
                stand(id, head.map(Some).map_err(CliError::from))
            };
            found.extend(heads_as(&store, standing).await?);
        }
        (Some(store), only) => {
            for id in only {
                let head = Head::load(&store, id).await;
                let head = head.map(|found| found.map(|(head, _)| head));
                found.extend([stand(id.clone(), head.map_err(CliError::from))]);
            }
        }
        (None, _) => {}
    }
    if let Some(store) = app.places.open_existing()? {
        look_for_damage(app, recipes, &store, &mut found, now).await?;
    }
    let configured = app.config.certificates.iter().map(|c| &c.id);
    let chosen: BTreeSet<&CertId> = only.iter().collect();
    let configured = configured.filter(|id| chosen.is_empty() || chosen.contains(id));
    // What is neither here nor there is told by its order.
    for id in configured.chain(only) {
        if !found.contains_key(id) {
            found.extend([stand(id.clone(), Ok(None))]);
        }
    }
    Ok(found.into_values().collect())
}

/// Makes due what the store has lost or damaged.
async fn look_for_damage(
    app: &App,
    recipes: &Recipes<'_>,
    store: &SealedStore,
    found: &mut BTreeMap<CertId, Result<Standing, (CertId, CliError)>>,
    now: Timestamp,
) -> Result<(), CliError> {
    let resting = found.values().flatten().filter(|s| now < s.due.at);
    let versions = resting.filter_map(|standing| {
        let version = standing.head.as_ref()?.current.as_ref()?;
        (version.revoked.is_none()).then_some((&standing.id, version))
    });
    let mut damaged = Vec::new();
    for (id, version) in versions {
        let damage = Material::damage(store, id, version)?;
        damaged.extend(damage.map(|what| (id.clone(), what)));
    }
    for (id, what) in damaged {
        // What is not due is not held whole.
        let head = Head::load(store, &id).await?.map(|(head, _)| head);
        let mut standing = Standing::new(app, recipes, id.clone(), head, now);
        if let Ok(standing) = &mut standing {
            standing.due.at = now;
            standing.due.reason = Reason::Damaged { what };
        }
        found.insert(id, standing);
    }
    Ok(())
}

/// The same after CAs were asked when to renew, as far as what they said last does not cover it.
pub(super) async fn ask(
    app: &App,
    recipes: &Recipes<'_>,
    standings: Standings,
    work: &Work,
    now: Timestamp,
) -> Result<Standings, CliError> {
    let mut advisors: BTreeMap<Vec<PathBuf>, Arc<Advisor>> = BTreeMap::new();
    let mut store: Option<Arc<SealedStore>> = None;
    for standing in standings
        .iter()
        .flatten()
        .filter(|s| is_worth_asking(s, now))
    {
        if advisors.contains_key(&standing.roots) {
            continue;
        }
        let store = match &store {
            Some(store) => store.clone(),
            None => store.insert(Arc::new(app.places.open()?)).clone(),
        };
        // A root that is gone is told by the order that needs it.
        if let Ok(transport) = transport(&standing.roots, &work.events) {
            let advisor = Advisor::new(store, transport, work.events.clone());
            advisors.insert(standing.roots.clone(), Arc::new(advisor));
        }
    }
    let advisors = &advisors;
    stream::iter(standings)
        .map(|standing| async move {
            let standing = match standing {
                Ok(standing) if is_worth_asking(&standing, now) => standing,
                other => return Ok(other),
            };
            let Some(advisor) = advisors.get(&standing.roots) else {
                return Ok(Ok(standing));
            };
            let Standing { id, head, .. } = standing;
            let head = match head {
                Some(head) => Some(advisor.advise(head, now, work.cancel()).await?),
                None => None,
            };
            Ok(Standing::new(app, recipes, id, head, now))
        })
        .buffered(CONCURRENT)
        .collect::<Vec<Result<_, CliError>>>()
        .await
        .into_iter()
        .collect()
}

/// Whether what a CA says could change when it is due.
fn is_worth_asking(standing: &Standing, now: Timestamp) -> bool {
    let by_time = matches!(
        standing.due.reason,
        Reason::Advised { .. } | Reason::Before | Reason::Lifetime
    );
    let head = standing.head.as_ref();
    by_time && head.is_some_and(|head| Advisor::has_to_ask(head, now))
}

/// Answers under way at once: one connection to a CA carries more, and no CA minds these.
const CONCURRENT: usize = 16;
