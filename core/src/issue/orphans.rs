//! Files of versions that will never be one: keys that a killed run has left, and no order and no certificate is for.

use std::collections::BTreeMap;

use crate::store::Head;
use crate::store::Key;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::VersionFile;

/// Removes them; only for whoever holds the lock over the certificate.
pub(super) async fn remove_orphans(store: &dyn Store, head: &Head) -> Result<(), StoreError> {
    let mut keys: BTreeMap<u32, Vec<Key>> = BTreeMap::new();
    for key in store.list(&Key::certificate(&head.id)).await? {
        if let Some(number) = key.version_number() {
            keys.entry(number).or_default().push(key);
        }
    }
    let of_order = head.order.as_ref().and_then(|order| order.version);
    let current = head.current.as_ref().map(|version| version.number);
    for (number, keys) in keys {
        let lonely = Key::version(&head.id, number, VersionFile::Key);
        // A number beyond the last may be of a newer head, which was put back from a backup to this one.
        let is_ours = number <= head.last_version;
        if keys == [lonely.clone()] && is_ours && ![of_order, current].contains(&Some(number)) {
            store.delete(&lonely).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::acme::KeyType;
    use crate::store::AccountId;
    use crate::store::DirectoryStore;
    use crate::store::Spec;
    use crate::store::Wanted;

    #[tokio::test]
    async fn only_keys_that_nothing_is_for_are_removed() {
        let root = tempfile::tempdir().unwrap();
        let store = DirectoryStore::open(&root.path().join("s")).unwrap();
        let wanted = Wanted {
            names: vec!["example.com".parse().unwrap()],
            key_type: KeyType::EcdsaP256,
            profile: None,
            directory: "https://ca.test/dir".to_owned(),
            account: AccountId::for_directory(&"https://ca.test/dir".parse().unwrap()),
            spec: Spec::default(),
        };
        let mut head = Head::new("example.com".parse().unwrap(), wanted);
        head.last_version = 3;
        let at = |number, file| Key::version(&head.id, number, file);
        for key in [
            at(1, VersionFile::Key),
            at(2, VersionFile::Key),
            at(2, VersionFile::FullChain),
            at(4, VersionFile::Key),
        ] {
            store.put_if_absent(&key, b"x".to_vec()).await.unwrap();
        }
        remove_orphans(&store, &head).await.unwrap();
        let left = store.list(&Key::certificate(&head.id)).await.unwrap();
        let numbers: Vec<_> = left.iter().filter_map(Key::version_number).collect();
        assert_eq!(numbers, [2, 2, 4]);
    }
}
