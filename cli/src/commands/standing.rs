//! Where every certificate stands: what is there, what is wanted, when it is due and why then.
//!
//! One look at the heads and the configuration, shared by `renew`, `list` and whoever stays in the foreground. CAs are asked
//! only by [`ask`], and only about what their last answer no longer covers.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use dnseal_core::issue::Terms;
use dnseal_core::renew::Advisor;
use dnseal_core::renew::Due;
use dnseal_core::renew::Policy;
use dnseal_core::renew::Reason;
use dnseal_core::renew::due;
use dnseal_core::store::CertId;
use dnseal_core::store::DirectoryStore;
use dnseal_core::store::Head;
use dnseal_core::store::heads;
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
pub(super) async fn standings(
    app: &App,
    recipes: &Recipes<'_>,
    only: &[CertId],
    now: Timestamp,
) -> Result<Standings, CliError> {
    let mut found: BTreeMap<CertId, Result<Option<Head>, CliError>> = BTreeMap::new();
    match (app.places.open_existing()?, only) {
        (Some(store), []) => {
            let heads = heads(&store).await?.into_iter();
            found.extend(heads.map(|(id, head)| (id, head.map(Some).map_err(CliError::from))));
        }
        (Some(store), only) => {
            for id in only {
                let head = Head::load(&store, id).await;
                let head = head.map(|found| found.map(|(head, _)| head));
                found.insert(id.clone(), head.map_err(CliError::from));
            }
        }
        (None, _) => {}
    }
    let chosen: BTreeSet<&CertId> = only.iter().collect();
    for certificate in &app.config.certificates {
        if chosen.is_empty() || chosen.contains(&certificate.id) {
            found.entry(certificate.id.clone()).or_insert(Ok(None));
        }
    }
    for id in only {
        // What is neither here nor there is told by its sketch.
        found.entry(id.clone()).or_insert(Ok(None));
    }
    Ok(found
        .into_iter()
        .map(|(id, head)| match head {
            Ok(head) => Standing::new(app, recipes, id, head, now),
            Err(error) => Err((id, error)),
        })
        .collect())
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
    let mut store: Option<Arc<DirectoryStore>> = None;
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
