//! Signing in with HTTP Basic: what was shown, and what is remembered of it.
//!
//! A browser sends name and password with every request, and a code that changes with time cannot be right every time. So what
//! was good is remembered for a while, as a hash with a key that is made at the start and is nowhere else. What was good once
//! and is remembered no more is told apart from what never was: it is no failure.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::totp;
use crate::desired::sign_in::User;

/// How long a good password counts without being looked at again.
pub const PASSWORD_LASTS: Duration = Duration::from_secs(5 * 60);
/// How long a good password with a code does.
pub const CODE_LASTS: Duration = Duration::from_secs(60 * 60);
/// How long it is known that it was good once.
const KNOWN_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// So many are remembered; of more, those that were good last.
const MOST_REMEMBERED: usize = 1_000;
/// Longer credentials are not looked at.
const LONGEST_BYTES: usize = 2_048;

/// A name and a password, as they were shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The user's name.
    pub name: String,
    /// The password, and behind it the six digits where the user has them.
    pub shown: String,
}

/// The header cannot be understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclear;

/// Whether credentials are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// They were good a short time ago.
    Good,
    /// They were good, and have to be shown anew.
    Stale,
    /// Nothing is known of them.
    No,
}

/// A hash of credentials that only this process can make.
pub type Mark = [u8; 32];

/// What is remembered of sign-ins.
#[derive(Debug)]
pub struct SignIns {
    key: [u8; 32],
    good: HashMap<Mark, Good>,
}

#[derive(Debug, Clone, Copy)]
struct Good {
    until: Instant,
    known_until: Instant,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credentials(…)")
    }
}

impl Credentials {
    /// Reads the values of `Authorization`; `None` where none of them is for a sign-in.
    pub fn read(authorization: &[&str]) -> Result<Option<Self>, Unclear> {
        let basic: Vec<&str> = authorization.iter().filter_map(|value| after_scheme(value)).collect();
        match *basic {
            [] => Ok(None),
            [encoded] if encoded.len() <= LONGEST_BYTES => Self::decode(encoded).map(Some).ok_or(Unclear),
            _ => Err(Unclear),
        }
    }

    /// RFC 7617: the name ends at the first colon.
    fn decode(encoded: &str) -> Option<Self> {
        let text = String::from_utf8(STANDARD.decode(encoded.trim()).ok()?).ok()?;
        let (name, shown) = text.split_once(':')?;
        Some(Self { name: name.to_owned(), shown: shown.to_owned() })
    }

    /// Parts password and code for a user who has a second factor; no code is an empty one.
    pub fn parts(&self, user: Option<&User>) -> (&str, &str) {
        if user.is_none_or(|user| user.totp.is_none()) {
            return (&self.shown, "");
        }
        let at = self.shown.len().checked_sub(totp::DIGITS).filter(|at| self.shown.is_char_boundary(*at));
        let parts = at.map(|at| self.shown.split_at(at));
        parts.filter(|(_, code)| code.bytes().all(|byte| byte.is_ascii_digit())).unwrap_or((&self.shown, ""))
    }
}

fn after_scheme(value: &str) -> Option<&str> {
    let (scheme, rest) = value.trim_start().split_once(' ')?;
    scheme.eq_ignore_ascii_case("basic").then_some(rest)
}

impl SignIns {
    /// Nothing is remembered yet; the key is random.
    pub fn with(key: [u8; 32]) -> Self {
        Self { key, good: HashMap::new() }
    }

    /// The mark of credentials for a user as the desired state has them: of another hash, they are others.
    pub fn mark(&self, credentials: &Credentials, user: &User) -> Mark {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes a key of any length");
        for part in [credentials.name.as_str(), user.password.as_str(), credentials.shown.as_str()] {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(&[u8::from(user.totp.is_some())]);
        mac.finalize().into_bytes().into()
    }

    /// Whether credentials are remembered.
    pub fn known(&self, mark: &Mark, now: Instant) -> Known {
        match self.good.get(mark) {
            Some(good) if good.until > now => Known::Good,
            Some(good) if good.known_until > now => Known::Stale,
            _ => Known::No,
        }
    }

    /// Remembers that credentials were good.
    pub fn remember(&mut self, mark: Mark, lasts: Duration, now: Instant) {
        self.good.retain(|_, good| good.known_until > now);
        if self.good.len() >= MOST_REMEMBERED
            && let Some(first) = self.good.iter().min_by_key(|(_, good)| good.known_until).map(|(mark, _)| *mark)
        {
            self.good.remove(&first);
        }
        self.good.insert(mark, Good { until: now + lasts, known_until: now + KNOWN_FOR });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::desired::secret::Secret;

    fn user(totp: bool) -> User {
        let hash = crate::gate::password::hash("correct horse battery", [7; 16]);
        let totp = totp.then(|| Secret::Env("EXITPOOL_TEST_TOTP".parse().unwrap()));
        User { password: hash.parse().unwrap(), totp }
    }

    fn basic(text: &str) -> String {
        format!("Basic {}", STANDARD.encode(text))
    }

    #[test]
    fn the_header_is_read_as_the_standard_has_it() {
        let read = |values: &[&str]| {
            Credentials::read(values).map(|read| read.map(|read| format!("{}/{}", read.name, read.shown)))
        };
        assert_eq!(read(&[&basic("ada:pass:word")]), Ok(Some("ada/pass:word".to_owned())));
        assert_eq!(read(&[&basic("ada:größer").replace("Basic", "bAsIc")]), Ok(Some("ada/größer".to_owned())));
        assert_eq!(read(&["Bearer v4.public.x"]), Ok(None));
        assert_eq!(read(&[]), Ok(None));
        for bad in ["Basic !", "Basic YWRh", "Basic /w==", &format!("Basic {}", "A".repeat(4_000))] {
            assert_eq!(read(&[bad]), Err(Unclear), "{bad}");
        }
        assert_eq!(read(&[&basic("ada:x"), &basic("eve:y")]), Err(Unclear), "which one counts?");
    }

    #[test]
    fn the_code_is_behind_the_password() {
        let shown = |text: &str| Credentials { name: "ada".to_owned(), shown: text.to_owned() };
        assert_eq!(shown("pass123456").parts(Some(&user(true))), ("pass", "123456"));
        assert_eq!(shown("pass123456").parts(Some(&user(false))), ("pass123456", ""));
        assert_eq!(shown("pass12345x").parts(Some(&user(true))), ("pass12345x", ""));
        assert_eq!(shown("größe").parts(Some(&user(true))), ("größe", ""));
        assert_eq!(shown("12345").parts(Some(&user(true))), ("12345", ""));
    }

    #[test]
    fn what_was_good_is_good_for_a_while_and_then_no_failure() {
        let (mut sign_ins, start) = (SignIns::with([1; 32]), Instant::now());
        let credentials = Credentials { name: "ada".to_owned(), shown: "pass".to_owned() };
        let mark = sign_ins.mark(&credentials, &user(false));
        assert_eq!(sign_ins.known(&mark, start), Known::No);
        sign_ins.remember(mark, PASSWORD_LASTS, start);
        assert_eq!(sign_ins.known(&mark, start + PASSWORD_LASTS / 2), Known::Good);
        assert_eq!(sign_ins.known(&mark, start + PASSWORD_LASTS), Known::Stale);
        assert_eq!(sign_ins.known(&mark, start + KNOWN_FOR), Known::No);
        let other = SignIns::with([2; 32]).mark(&credentials, &user(false));
        assert_ne!(mark, other, "only this process can make it");
        assert_ne!(mark, sign_ins.mark(&credentials, &user(true)));
        let shifted = Credentials { name: "adap".to_owned(), shown: "ass".to_owned() };
        assert_ne!(mark, sign_ins.mark(&shifted, &user(false)));
        for number in 0..2 * MOST_REMEMBERED {
            let mut mark = [0; 32];
            mark[..8].copy_from_slice(&number.to_be_bytes());
            sign_ins.remember(mark, PASSWORD_LASTS, start + Duration::from_millis(number as u64));
        }
        assert_eq!(sign_ins.good.len(), MOST_REMEMBERED);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_header_is_too_much(value in "\\PC{0,300}", prefix in prop_oneof!["Basic ", "basic  ", "", "Bearer "]) {
            let _ = Credentials::read(&[&format!("{prefix}{value}")]);
        }

        #[test]
        fn what_was_written_is_read(name in "[A-Za-z0-9._-]{1,64}", shown in "\\PC{0,100}") {
            let read = Credentials::read(&[&basic(&format!("{name}:{shown}"))]).unwrap().unwrap();
            prop_assert_eq!((read.name, read.shown), (name, shown));
        }
    }
}
