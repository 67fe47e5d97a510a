//! Stub until the merge.
use serde::{Deserialize, Serialize};
/// k
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub enum KeyType {
    /// k
    #[default]
    EcdsaP256,
}
