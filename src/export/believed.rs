//! Tokens that a trusted key has signed, so that one that is shown over and over is verified once.
//!
//! Digests are kept, and not the tokens themselves. A token that is refused is not kept: whoever guesses waits for a whole
//! verification each time. Whether a token may be used now is judged at every request all the same.

use std::collections::HashMap;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::token::Claims;
use crate::desired::values::TrustedKey;

/// So many tokens are kept; at one more, all are forgotten, and verified again.
pub const MOST_KEPT: usize = 1_024;

/// What stands for a token.
pub type Fingerprint = [u8; 32];

/// What stands for this token.
pub fn fingerprint(token: &str) -> Fingerprint {
    Sha256::digest(token).into()
}

/// What tokens say that were verified with the keys that are trusted now.
#[derive(Debug, Default)]
pub struct Believed {
    trusted: Vec<TrustedKey>,
    claims: HashMap<Fingerprint, Arc<Claims>>,
}

impl Believed {
    /// What a token says, if it was verified with just these keys.
    pub fn find(&self, token: &Fingerprint, trusted: &[TrustedKey]) -> Option<Arc<Claims>> {
        if self.trusted == trusted { self.claims.get(token).cloned() } else { None }
    }

    /// How many tokens are kept.
    pub fn len(&self) -> usize {
        self.claims.len()
    }

    /// Whether none is kept.
    pub fn is_empty(&self) -> bool {
        self.claims.is_empty()
    }

    /// Keeps what a token says that was verified with these keys.
    pub fn keep(&mut self, token: Fingerprint, trusted: &[TrustedKey], claims: Arc<Claims>) {
        if self.trusted != trusted {
            *self = Self { trusted: trusted.to_vec(), ..Self::default() };
        }
        if self.claims.len() >= MOST_KEPT {
            self.claims.clear();
        }
        self.claims.insert(token, claims);
    }
}
