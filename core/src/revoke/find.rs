//! Which certificate of the store a file holds.

use crate::acme::Leaf;
use crate::store::CertId;
use crate::store::Head;
use crate::store::Key;
use crate::store::Store;
use crate::store::StoreError;
use crate::store::Version;

/// The certificate, and its version, that is this one: by serial number and issuer, as both stand in the store.
///
/// Records that cannot be read are passed over: the certificate that is looked for may be another.
pub async fn find(store: &dyn Store, leaf: &Leaf) -> Result<Option<(CertId, Version)>, StoreError> {
    let is_it = |v: &Version| v.serial == leaf.serial && v.issuer == leaf.issuer;
    let mut older = Vec::new();
    for key in store.list(&Key::certificates()).await? {
        match key.components() {
            [_, id, file] if file == "head.json" => {
                let Ok(id) = id.parse::<CertId>() else {
                    continue;
                };
                let head = Head::load(store, &id).await.unwrap_or_default();
                if let Some(current) = head.and_then(|(head, _)| head.current)
                    && is_it(&current)
                {
                    return Ok(Some((id, current)));
                }
            }
            [_, id, _, file] if file.ends_with(".json") => {
                if let Ok(id) = id.parse::<CertId>() {
                    older.push((id, key));
                }
            }
            _ => {}
        }
    }
    for (id, key) in older {
        if let Some((content, _)) = store.get(&key).await?
            && let Ok(version) = serde_json::from_slice::<Version>(&content)
            && is_it(&version)
        {
            return Ok(Some((id, version)));
        }
    }
    Ok(None)
}
