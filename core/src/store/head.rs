//! The head of a certificate: the one record that changes, and from which every run goes on.
//!
//! A value stands in [`Head::published`] before it is in DNS and until it is gone from there; the URL of the order and the
//! number of the version whose key it will use stand in [`Head::order`] before the order is finalized. Whoever changes a head holds the
//! lock over the certificate and writes by compare-and-swap through a [`HeadSession`].

use std::sync::Arc;

use futures::StreamExt;
use futures::stream;
use jiff::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use tokio::sync::Mutex;

use crate::acme::KeyType;
use crate::dns::DomainName;
use crate::dns::Handle;
use crate::dns::Identifier;
use crate::dns::TxtValue;
use crate::dns::Zone;
use crate::store::AccountId;
use crate::store::CertId;
use crate::store::Key;
use crate::store::LeftOut;
use crate::store::Renewal;
use crate::store::SCHEMA;
use crate::store::Spec;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Tag;
use crate::store::Version;
use crate::store::from_json;
use crate::store::of_its_name;
use crate::store::to_json;

/// Everything about one certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Head {
    schema: u32,
    /// Its name.
    pub id: CertId,
    /// What was asked for last.
    pub wanted: Wanted,
    /// The version in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Version>,
    /// The highest number a version was ever given, also one that came to nothing.
    #[serde(default)]
    pub last_version: u32,
    /// The order that is not finished.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<InFlight>,
    /// Values that may be in DNS and have to leave it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<Published>,
    /// Who works on it, or worked on it and was killed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worker: Option<Worker>,
    /// What is remembered for its renewal.
    #[serde(default, skip_serializing_if = "Renewal::is_empty")]
    pub renewal: Renewal,
}

impl Head {
    /// A certificate of which there is no version yet.
    pub fn new(id: CertId, wanted: Wanted) -> Self {
        Self {
            schema: SCHEMA,
            id,
            wanted,
            current: None,
            last_version: 0,
            order: None,
            published: Vec::new(),
            worker: None,
            renewal: Renewal::default(),
        }
    }

    /// Whether it says nothing that anybody would miss: no version, no order, no value.
    pub fn is_empty(&self) -> bool {
        self.current.is_none() && self.order.is_none() && self.published.is_empty()
    }

    /// The head of `id`, where there is one.
    pub async fn load(store: &dyn Store, id: &CertId) -> Result<Option<(Self, Tag)>, StoreError> {
        let key = Key::head(id);
        match store.get(&key).await? {
            Some((content, tag)) => Ok(Some((Self::of(id, &content)?, tag))),
            None => Ok(None),
        }
    }

    fn of(id: &CertId, content: &[u8]) -> Result<Self, StoreError> {
        let key = Key::head(id);
        let head: Self = from_json(&key, content)?;
        of_its_name(&key, &head.id, id)?;
        Ok(head)
    }
}

/// The head of every certificate, by name, one small read each; one that cannot be understood keeps nobody from the others.
pub async fn heads(
    store: &dyn Store,
) -> Result<Vec<(CertId, Result<Head, StoreError>)>, StoreError> {
    heads_as(store, |id, head| (id, head)).await
}

/// The same, each turned at once into what is needed of it, so that not all of them are held.
pub async fn heads_as<T>(
    store: &dyn Store,
    mut needed: impl FnMut(CertId, Result<Head, StoreError>) -> T + Send,
) -> Result<Vec<T>, StoreError> {
    let names = store.names(&Key::certificates()).await?;
    let ids: Vec<CertId> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let goes: Vec<Vec<CertId>> = ids.chunks(HEADS_A_READ).map(<[_]>::to_vec).collect();
    let mut read = stream::iter(goes)
        .map(|ids| several(store, ids))
        .buffered(CONCURRENT_READS);
    let mut found = Vec::new();
    while let Some(heads) = read.next().await {
        for (id, head) in heads {
            match head {
                Ok(Some(head)) => found.push(needed(id, Ok(head))),
                // Only versions or temporary files, which `tidy` sees to.
                Ok(None) => {}
                Err(error) => found.push(needed(id, Err(error))),
            }
        }
    }
    Ok(found)
}

/// The heads of these certificates, read and understood beside whoever waits for them.
async fn several(
    store: &dyn Store,
    ids: Vec<CertId>,
) -> Vec<(CertId, Result<Option<Head>, StoreError>)> {
    let contents = store.get_each(ids.iter().map(Key::head).collect()).await;
    let understood = tokio::task::spawn_blocking(move || {
        let heads = ids.into_iter().zip(contents).map(|(id, content)| {
            let understood = |content: Vec<u8>| Head::of(&id, &content);
            let head = content.and_then(|content| content.map(understood).transpose());
            (id, head)
        });
        heads.collect()
    });
    match understood.await {
        Ok(heads) => heads,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// How many heads are read in one go: enough that the way to them costs little, and few enough to hold.
const HEADS_A_READ: usize = 64;
/// Reads under way at once.
const CONCURRENT_READS: usize = 4;

/// What a certificate should be.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Wanted {
    /// Its names, in the order they were asked for.
    pub names: Vec<Identifier>,
    /// The type of its key.
    pub key_type: KeyType,
    /// The CA's profile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// The CA.
    pub directory: String,
    /// The account there.
    pub account: AccountId,
    /// What else is asked for.
    #[serde(default, skip_serializing_if = "Spec::is_default")]
    pub spec: Spec,
}

impl Wanted {
    /// Whether both want the same names, in whatever order.
    pub fn same_names(&self, other: &[Identifier]) -> bool {
        let sorted = |names: &[Identifier]| {
            let mut names = names.to_vec();
            names.sort();
            names
        };
        sorted(&self.names) == sorted(other)
    }
}

/// An order that is not finished.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct InFlight {
    /// What it was made for; a later wish that differs begins anew. Its names are those in the order.
    pub wanted: Wanted,
    /// Names that were asked for and are not in the order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// The URL of the account.
    pub account_url: String,
    /// The URL of the order.
    pub url: String,
    /// The URLs of its authorizations, so that they can be given up when the order itself cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorizations: Vec<String>,
    /// The version whose key the order is finalized with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// When it was made.
    pub begun: Timestamp,
}

/// A value that may be in DNS.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Published {
    /// Where that provider wrote then; it may be configured to write elsewhere now.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub endpoint: String,
    /// The configured name of the provider it was given to.
    pub provider: String,
    /// The zone, as that provider knows it.
    pub zone: Zone,
    /// The owner name.
    pub owner: DomainName,
    /// The value.
    pub value: TxtValue,
    /// The TTL in seconds.
    pub ttl: u32,
    /// What the provider answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle: Option<Handle>,
    /// Since when it is written down here.
    pub since: Timestamp,
    /// Calls for it that have begun and that nobody has heard the end of yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unanswered: Vec<Unanswered>,
}

/// A call that a program makes which outlives the run that has started it.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Unanswered {
    /// The run, as its programs are known by.
    pub run: String,
    /// Since when a later run has known of it, and so that the run is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub known: Option<Timestamp>,
}

/// A run that works on a certificate.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Worker {
    /// The process.
    pub process: u32,
    /// Since when.
    pub since: Timestamp,
}

/// A head that is being worked on: changed in memory and in the store together.
#[derive(Clone, Debug)]
pub struct HeadSession {
    inner: Arc<Mutex<Inner>>,
    store: Arc<dyn Store>,
}

#[derive(Debug)]
struct Inner {
    head: Head,
    tag: Option<Tag>,
}

impl HeadSession {
    /// Goes on from what [`Head::load`] gave, or with a new head that is written at the first change.
    pub fn new(store: Arc<dyn Store>, head: Head, tag: Option<Tag>) -> Self {
        Self {
            inner: Arc::new(Mutex::new(Inner { head, tag })),
            store,
        }
    }

    /// The head as it is now.
    pub async fn head(&self) -> Head {
        self.inner.lock().await.head.clone()
    }

    /// Changes the head, in the store first. Writes nothing where `change` changes nothing.
    pub async fn update<T>(&self, change: impl FnOnce(&mut Head) -> T) -> Result<T, StoreError> {
        let mut inner = self.inner.lock().await;
        let mut head = inner.head.clone();
        let result = change(&mut head);
        if head == inner.head && inner.tag.is_some() {
            return Ok(result);
        }
        let key = Key::head(&head.id);
        let content = to_json(&key, &head)?;
        let tag = match &inner.tag {
            Some(tag) => self.store.put_if_match(&key, content, tag).await?,
            None => self.store.put_if_absent(&key, content).await?,
        };
        inner.head = head;
        inner.tag = Some(tag);
        Ok(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::DirectoryStore;

    fn wanted() -> Wanted {
        Wanted {
            names: vec![
                "example.com".parse().unwrap(),
                "*.example.com".parse().unwrap(),
            ],
            key_type: KeyType::EcdsaP256,
            profile: None,
            directory: "https://ca.test/dir".to_owned(),
            account: AccountId::for_directory(&"https://ca.test/dir".parse().unwrap()),
            spec: Spec::default(),
        }
    }

    #[tokio::test]
    async fn what_is_updated_is_what_the_next_run_finds() {
        let root = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> = Arc::new(DirectoryStore::open(&root.path().join("s")).unwrap());
        let id: CertId = "example.com".parse().unwrap();
        let session = HeadSession::new(store.clone(), Head::new(id.clone(), wanted()), None);
        session.update(|head| head.last_version = 7).await.unwrap();
        let (head, tag) = Head::load(&*store, &id).await.unwrap().unwrap();
        assert_eq!(head, session.head().await);

        let other = HeadSession::new(store.clone(), head, Some(tag));
        other.update(|head| head.last_version = 8).await.unwrap();
        let lost = session
            .update(|head| head.last_version = 9)
            .await
            .unwrap_err();
        assert!(matches!(lost, StoreError::Changed { .. }), "{lost}");
        assert_eq!(session.head().await.last_version, 7);
    }

    #[tokio::test]
    async fn a_newer_format_is_refused_untouched() {
        let root = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(&root.path().join("s")).unwrap();
        let id: CertId = "example.com".parse().unwrap();
        let content = br#"{"schema": 99, "surprise": true}"#.to_vec();
        store.put_if_absent(&Key::head(&id), content).await.unwrap();
        let error = Head::load(&store, &id).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Newer { found: 99, .. }),
            "{error}"
        );
        store.delete(&Key::head(&id)).await.unwrap();
        store
            .put_if_absent(&Key::head(&id), b"{\"schema\": 1".to_vec())
            .await
            .unwrap();
        let error = Head::load(&store, &id).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("certificates/example.com/head.json"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_record_in_the_place_of_another_is_refused_and_keeps_nobody_from_the_others() {
        let root = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(&root.path().join("s")).unwrap();
        let good: CertId = "example.com".parse().unwrap();
        let copy: CertId = "example.org".parse().unwrap();
        let content = to_json(&Key::head(&good), &Head::new(good.clone(), wanted())).unwrap();
        for id in [&good, &copy] {
            store
                .put_if_absent(&Key::head(id), content.clone())
                .await
                .unwrap();
        }
        // Not even a directory.
        std::fs::write(root.path().join("s/certificates/example.net"), "").unwrap();
        let found = heads(&store).await.unwrap();
        let names: Vec<&str> = found.iter().map(|(id, _)| id.as_str()).collect();
        assert_eq!(names, ["example.com", "example.net", "example.org"]);
        assert!(found[0].1.is_ok());
        assert!(found[1].1.is_err());
        let error = found[2].1.as_ref().unwrap_err();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("of example.com"), "{error}");
    }

    #[test]
    fn names_are_compared_as_a_set() {
        let wanted = wanted();
        let swapped: Vec<Identifier> = wanted.names.iter().rev().cloned().collect();
        assert!(wanted.same_names(&swapped));
        assert!(!wanted.same_names(&swapped[..1]));
    }
}
