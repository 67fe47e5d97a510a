//! What an order would do, told without doing any of it.

use futures::StreamExt;
use jiff::Timestamp;
use serde::Serialize;

use super::Engine;
use super::IssueError;
use super::Request;
use crate::acme::KeyType;
use crate::deploy::LiveFiles;
use crate::dns::DomainName;
use crate::dns::Identifier;
use crate::renew::due;
use crate::store::CertId;
use crate::store::Head;
use crate::store::LeftOut;
use crate::store::Spec;
use crate::store::StoredAccount;

/// What [`Engine::issue`] would do.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// The certificate.
    pub id: CertId,
    /// What would happen to it.
    pub action: PlanAction,
    /// The CA's directory.
    pub directory: String,
    /// The account that would be used, where one is registered.
    pub account: Option<String>,
    /// The type of the key.
    pub key_type: KeyType,
    /// The CA's profile.
    pub profile: Option<String>,
    /// What else is asked for.
    pub spec: Spec,
    /// Names that would be left out, because nobody can prove them.
    pub left_out: Vec<LeftOut>,
    /// Where each name would be proven.
    pub names: Vec<PlannedName>,
    /// Where the files would be.
    pub files: LiveFiles,
    /// From when it should be renewed, where it is kept.
    pub renew_at: Option<Timestamp>,
}

/// What would happen to a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanAction {
    /// It is there and fresh.
    Keep,
    /// An order is made.
    Order,
    /// The order of an earlier run is finished or cleaned up.
    Resume,
}

/// Where one name would be proven.
#[derive(Debug, Serialize)]
pub struct PlannedName {
    /// The name.
    pub identifier: Identifier,
    /// Where the value would go.
    pub owner: DomainName,
    /// The names in between, where the challenge name is delegated.
    pub delegation: Vec<DomainName>,
    /// The zone.
    pub zone: DomainName,
    /// The configured provider.
    pub provider: String,
    /// Where that provider writes to.
    pub endpoint: String,
    /// The servers that would be asked.
    pub servers: Vec<String>,
}

pub(super) async fn plan(engine: &Engine, request: &Request) -> Result<Plan, IssueError> {
    let wanted = request.wanted();
    let head = Head::load(&*engine.store, &request.id)
        .await?
        .map(|(head, _)| head);
    let current = head.as_ref().and_then(|head| head.current.as_ref());
    if let Some(current) = current
        && !request.replace_names
        && !wanted.same_names(&current.asked())
    {
        return Err(IssueError::NamesDiffer {
            asked: request.names.clone(),
            existing: current.names.clone(),
            id: request.id.clone(),
        });
    }
    let now = Timestamp::now();
    let due = head
        .as_ref()
        .filter(|head| head.current.as_ref().is_some_and(|v| v.revoked.is_none()))
        .map(|head| due(head, &wanted, now, &request.renewal.policy).at);
    let kept = due.filter(|at| !request.force && !request.options.new_key && now < *at);
    let action = match &head {
        Some(head) if head.order.is_some() => PlanAction::Resume,
        _ if kept.is_some() => PlanAction::Keep,
        _ => PlanAction::Order,
    };
    let account = StoredAccount::load(&*engine.store, &wanted.account).await?;

    let looking = futures::stream::iter(request.names.clone()).map(|identifier| async move {
        let owner = identifier.challenge_owner();
        match engine.zones.place_to_prove(&owner).await {
            Ok(place) => Ok(PlannedName {
                identifier: identifier.clone(),
                owner: place.location.owner.clone(),
                delegation: place.location.chain.clone(),
                zone: place.zone.name.clone(),
                provider: place.provider.name.clone(),
                endpoint: place.provider.provider.endpoint(),
                servers: place
                    .location
                    .zone
                    .servers
                    .iter()
                    .map(|s| s.name.clone())
                    .collect(),
            }),
            Err(source) => Err(IssueError::place(identifier, source)),
        }
    });
    let mut names = Vec::new();
    let mut left_out = Vec::new();
    let mut failure = None;
    let looked: Vec<Result<PlannedName, IssueError>> = looking.buffered(16).collect().await;
    for name in looked {
        match name {
            Ok(name) => names.push(name),
            Err(IssueError::Place {
                identifier, source, ..
            }) if request.options.allow_subset => {
                left_out.push(LeftOut {
                    name: identifier.clone(),
                    reason: source.to_string(),
                });
                failure.get_or_insert(IssueError::place(identifier, source));
            }
            Err(error) => return Err(error),
        }
    }
    if let (Some(failure), []) = (failure, names.as_slice()) {
        return Err(failure);
    }
    Ok(Plan {
        id: request.id.clone(),
        action,
        directory: wanted.directory,
        account: account.and_then(|(account, _)| account.url),
        key_type: request.key_type,
        profile: request.profile.clone(),
        names,
        spec: wanted.spec,
        left_out,
        files: engine.live.files(&request.id),
        renew_at: kept,
    })
}
