//! What is remembered between two requests: which tokens were verified, and which are in use. In memory alone, and bounded: a
//! restart forgets it.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;

use super::believed::{Believed, fingerprint};
use super::key::PublicKey;
use super::paseto::NotValid;
use super::query::Shown;
use super::token::{self, Claims};
use super::{Download, Ledger};
use crate::desired::values::TrustedKey;

/// So many tokens in use are remembered; of more, those that expire last.
const MOST_TOKENS: usize = 10_000;

/// Where lists are handed out.
#[derive(Debug, Default)]
pub struct Desk {
    ledger: Option<Box<dyn Ledger>>,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    /// When the tokens that were used expire, by their ids.
    tokens: HashMap<String, Timestamp>,
    believed: Believed,
}

impl Desk {
    /// A desk that has downloads written down.
    pub fn with(ledger: Box<dyn Ledger>) -> Self {
        Self { ledger: Some(ledger), ..Self::default() }
    }

    /// What a token says that is shown, if one of these keys has signed it.
    pub fn believed(&self, shown: &Shown, trusted: &[TrustedKey]) -> Result<Arc<Claims>, NotValid> {
        let fingerprint = fingerprint(&shown.0);
        if let Some(claims) = self.seen().believed.find(&fingerprint, trusted) {
            return Ok(claims);
        }
        let keys: Vec<PublicKey> = trusted.iter().filter_map(|key| key.try_into().ok()).collect();
        let claims = Arc::new(token::verify(&shown.0, &keys)?);
        self.seen().believed.keep(fingerprint, trusted, Arc::clone(&claims));
        Ok(claims)
    }

    /// Remembers a token that was good.
    pub fn accepted(&self, claims: &Claims) {
        let mut seen = self.seen();
        if seen.tokens.get(&claims.jti) == Some(&claims.exp) {
            return;
        }
        seen.tokens.insert(claims.jti.clone(), claims.exp);
        if seen.tokens.len() > MOST_TOKENS
            && let Some(first) = seen.tokens.iter().min_by_key(|(_, expires)| **expires).map(|(id, _)| id.clone())
        {
            seen.tokens.remove(&first);
        }
    }

    /// Has a download written down.
    pub fn record(&self, download: Download) {
        if let Some(ledger) = &self.ledger {
            ledger.record(download);
        }
    }

    /// Counts the tokens that were used since the start, have not expired and are not revoked.
    pub fn active_tokens(&self, now: Timestamp, revoked: &BTreeSet<String>) -> usize {
        let mut seen = self.seen();
        seen.tokens.retain(|_, expires| *expires > now);
        seen.tokens.keys().filter(|id| !revoked.contains(*id)).count()
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::believed::MOST_KEPT;
    use crate::export::key::SecretKey;

    fn claims(id: usize, expires: i64) -> Claims {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        Claims {
            aud: Default::default(),
            jti: format!("token-{id}"),
            grant: "crawler".to_owned(),
            iat: at(0),
            nbf: at(0),
            exp: at(expires),
            bind: Vec::new(),
            formats: Vec::new(),
            pools: Vec::new(),
        }
    }

    #[test]
    fn a_token_is_believed_for_as_long_as_its_key_is_trusted() {
        let trust = |seed: u8| vec![SecretKey::from_seed(&[seed; 32]).public().to_string().parse().unwrap()];
        let token = token::issue(&SecretKey::from_seed(&[1; 32]), &claims(1, 100)).unwrap();
        let bent = Shown(format!("{}A", &token[..token.len() - 1]));
        let (desk, shown) = (Desk::default(), Shown(token));
        for _ in 0..2 {
            assert_eq!(desk.believed(&shown, &trust(1)).unwrap().jti, "token-1");
            assert_eq!(desk.believed(&bent, &trust(1)), Err(NotValid), "a token is not its neighbour");
            assert_eq!(desk.believed(&shown, &trust(2)), Err(NotValid), "its key was taken away");
            assert_eq!(desk.believed(&shown, &[]), Err(NotValid));
        }
    }

    #[test]
    fn verified_tokens_that_are_kept_are_bounded() {
        let (desk, key) = (Desk::default(), SecretKey::from_seed(&[1; 32]));
        let trusted = [key.public().to_string().parse().unwrap()];
        for id in 0..MOST_KEPT + 5 {
            let token = token::issue(&key, &claims(id, 100)).unwrap();
            desk.believed(&Shown(token), &trusted).unwrap();
        }
        assert_eq!(desk.seen().believed.len(), 5);
    }

    #[test]
    fn tokens_in_use_are_counted_once_each_until_they_expire_or_are_revoked() {
        let desk = Desk::default();
        for (id, expires) in [(1, 100), (2, 200), (1, 100), (3, 300)] {
            desk.accepted(&claims(id, expires));
        }
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        assert_eq!(desk.active_tokens(at(50), &BTreeSet::new()), 3);
        assert_eq!(desk.active_tokens(at(50), &["token-2".to_owned(), "other".to_owned()].into()), 2);
        assert_eq!(desk.active_tokens(at(100), &BTreeSet::new()), 2);
        assert_eq!(desk.active_tokens(at(300), &BTreeSet::new()), 0);
    }

    #[test]
    fn what_is_remembered_of_tokens_is_bounded() {
        let desk = Desk::default();
        for id in 0..MOST_TOKENS + 5 {
            desk.accepted(&claims(id, 1_000 + i64::try_from(id).unwrap()));
        }
        assert_eq!(desk.active_tokens(Timestamp::UNIX_EPOCH, &BTreeSet::new()), MOST_TOKENS);
        assert!(!desk.seen().tokens.contains_key("token-0"));
    }
}
