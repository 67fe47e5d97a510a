//! Anti-replay nonces (RFC 8555 section 6.5): each is good for one request, and the oldest are forgotten.

use std::collections::{HashSet, VecDeque};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};

/// How many unused nonces are remembered. A client that hoards more than this gets `badNonce`, as with any CA.
const CAPACITY: usize = 65_536;

#[derive(Debug, Default)]
pub(super) struct Nonces {
    unused: HashSet<String>,
    order: VecDeque<String>,
}

impl Nonces {
    pub(super) fn issue(&mut self) -> String {
        let nonce = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 16]>());
        self.unused.insert(nonce.clone());
        self.order.push_back(nonce.clone());
        if self.order.len() > CAPACITY
            && let Some(oldest) = self.order.pop_front()
        {
            self.unused.remove(&oldest);
        }
        nonce
    }

    /// Whether the nonce was ours and unused; it is used afterwards.
    pub(super) fn redeem(&mut self, nonce: &str) -> bool {
        self.unused.remove(nonce)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_good_once() {
        let mut nonces = Nonces::default();
        let nonce = nonces.issue();
        assert!(nonces.redeem(&nonce));
        assert!(!nonces.redeem(&nonce));
        assert!(!nonces.redeem("never-issued"));
    }

    #[test]
    fn the_oldest_is_forgotten() {
        let mut nonces = Nonces::default();
        let first = nonces.issue();
        let second = nonces.issue();
        for _ in 0..CAPACITY - 1 {
            nonces.issue();
        }
        assert!(!nonces.redeem(&first));
        assert!(nonces.redeem(&second));
    }
}
