//! Passwords: which are too weak, how one is hashed, and whether one is right.

use std::sync::LazyLock;

use argon2::password_hash::{PasswordHash as Phc, PasswordHasher as _, PasswordVerifier as _, SaltString};
use argon2::{Algorithm, Argon2, Params, Version};

use crate::desired::values::PasswordHash;

/// What OWASP's cheat sheet on the storage of passwords asks for: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// So many bytes of salt, RFC 9106, 3.1.
pub const SALT_BYTES: usize = 16;
/// A password has at least so many characters, NIST SP 800-63B-4 for the only factor: 15, here less one for people.
const FEWEST_CHARACTERS: usize = 12;
/// And at most so many bytes: it is hashed at every sign-in.
const MOST_BYTES: usize = 1_024;
/// With fewer different characters than these it is a pattern.
const FEWEST_DIFFERENT: usize = 5;

/// What everybody tries first: a password that is one of these, with or without digits and signs around it.
const COMMON: [&str; 32] = [
    "abc",
    "access",
    "admin",
    "administrator",
    "asdfghjkl",
    "changeit",
    "changeme",
    "default",
    "demo",
    "exitpool",
    "guest",
    "iloveyou",
    "letmein",
    "login",
    "master",
    "monitoring",
    "operator",
    "passphrase",
    "passwd",
    "password",
    "passwort",
    "prometheus",
    "proxy",
    "qwerty",
    "qwertyuiop",
    "root",
    "secret",
    "socks",
    "test",
    "torproxy",
    "user",
    "welcome",
];

/// Says why a password is too weak; `None` where nothing is known against it.
pub fn weakness(password: &str, name: Option<&str>) -> Option<String> {
    if password.chars().count() < FEWEST_CHARACTERS {
        return Some(format!("it has fewer than {FEWEST_CHARACTERS} characters"));
    }
    if password.len() > MOST_BYTES {
        return Some(format!("it has more than {MOST_BYTES} bytes"));
    }
    if password.chars().any(char::is_control) {
        return Some("it has a control character, which nobody can type".to_owned());
    }
    let lower = password.to_lowercase();
    let word: String = lower.chars().filter(|it| it.is_alphabetic()).collect();
    let is_repeated =
        |common: &str| word.len().is_multiple_of(common.len()) && word == common.repeat(word.len() / common.len());
    if !word.is_empty() && COMMON.iter().any(|common| is_repeated(common)) {
        return Some("it is one of those that everybody tries first".to_owned());
    }
    if name.is_some_and(|name| lower.contains(&name.to_lowercase())) {
        return Some("the user's name is in it".to_owned());
    }
    let different: std::collections::BTreeSet<char> = lower.chars().collect();
    if different.len() < FEWEST_DIFFERENT || is_a_row(&lower) {
        return Some("it is a pattern, such as a row of keys or digits".to_owned());
    }
    None
}

/// Whether each character follows the one before, up or down, as in `123456789012`.
fn is_a_row(text: &str) -> bool {
    let codes: Vec<i64> = text.chars().map(|it| i64::from(u32::from(it))).collect();
    let breaks = codes.windows(2).filter(|pair| (pair[1] - pair[0]).abs() != 1).count();
    breaks * 4 < codes.len()
}

/// Hashes a password with a salt that is used for nothing else.
pub fn hash(password: &str, salt: [u8; SALT_BYTES]) -> String {
    let salt = SaltString::encode_b64(&salt).expect("sixteen bytes are a salt");
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).expect("these are in argon2's bounds");
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    argon2.hash_password(password.as_bytes(), &salt).expect("a password of this length is hashed").to_string()
}

/// Whether a password is right; for a user that does not exist this takes as long, and says no.
pub fn is_right(hash: Option<&PasswordHash>, password: &str) -> bool {
    static NOBODY: LazyLock<String> = LazyLock::new(|| self::hash("", [0; SALT_BYTES]));
    let text = hash.map_or(NOBODY.as_str(), PasswordHash::as_str);
    let is_it = Phc::new(text).is_ok_and(|hash| Argon2::default().verify_password(password.as_bytes(), &hash).is_ok());
    is_it && hash.is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hashed_is_right_and_nothing_else() {
        let text = hash("correct horse battery", [7; SALT_BYTES]);
        assert!(text.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{text}");
        let hash: PasswordHash = text.parse().unwrap();
        assert!(is_right(Some(&hash), "correct horse battery"));
        assert!(!is_right(Some(&hash), "correct horse batterz"));
        assert!(!is_right(None, "correct horse battery") && !is_right(None, ""));
        assert!(!format!("{hash:?}").contains("$argon2id"), "it is not printed");
    }

    #[test]
    fn weak_and_default_passwords_are_refused_with_the_reason() {
        for weak in [
            "",
            "short",
            "hunter2",
            "password1234",
            "Password!!!!1",
            "passwordpassword",
            "CHANGEME-changeme",
            "admin2026admin",
            "aaaaaaaaaaaaaaaa",
            "ababababababab",
            "123456789012",
            "987654321098",
            "abcdefghijklmn",
            "exitpool-2026",
            "ada-likes-tulips",
            "tab\tinside-of-it",
        ] {
            assert!(weakness(weak, Some("ada")).is_some(), "{weak}");
        }
        for good in ["correct horse battery", "tulips-7-under-snow", "Zk4%nV2!qLw9", "größere Wörter sind lang"] {
            assert_eq!(weakness(good, Some("ada")), None, "{good}");
        }
        assert!(weakness(&"x1yz ".repeat(300), None).is_some(), "and one that costs too much");
    }
}
