//! Keys of tokens, and the host's own: how they are written, and what they are called.
//!
//! A public key is written `ed25519:<base64>` in the desired state. A secret key is written as PASERK
//! (<https://github.com/paseto-standard/paserk>), and so is the id of a key, which every token names.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use blake2::digest::consts::U33;
use blake2::{Blake2b, Digest as _};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

use crate::desired::values::TrustedKey;

/// A public key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A secret key. It is never shown but by [`SecretKey::reveal`].
pub struct SecretKey(SigningKey);

/// The id of a public key: `k4.pid.` and 44 characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct KeyId(String);

/// Why a text is not a key; what it is is never repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// It is not a public key, or a weak one.
    #[error(
        "this is not a public key; write `ed25519:` and 44 characters of base64, as `exitpool token public` prints it"
    )]
    Public,
    /// It is not a secret key.
    #[error("this is not a secret key of `exitpool token keygen`")]
    Secret,
}

impl PublicKey {
    /// The key's id.
    pub fn id(&self) -> KeyId {
        KeyId::of(self.0.as_bytes())
    }

    /// Whether a signature over a message is this key's.
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }

    pub(super) fn verifying(&self) -> &VerifyingKey {
        &self.0
    }
}

impl KeyId {
    /// The id of a key of 32 bytes.
    ///
    /// PASERK, operations/ID.md: BLAKE2b of 33 bytes over the id's header and the key's own PASERK.
    pub fn of(key: &[u8; 32]) -> Self {
        const HEADER: &str = "k4.pid.";
        let mut hash = Blake2b::<U33>::new();
        hash.update(HEADER);
        hash.update("k4.public.");
        hash.update(URL_SAFE_NO_PAD.encode(key));
        Self(format!("{HEADER}{}", URL_SAFE_NO_PAD.encode(hash.finalize())))
    }
}

impl SecretKey {
    /// Makes a key of 32 random bytes.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// The public key that belongs to it.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Writes the key down, `k4.secret.…`: for its file and for nothing else.
    pub fn reveal(&self) -> String {
        format!("{SECRET}{}", URL_SAFE_NO_PAD.encode(self.0.to_keypair_bytes()))
    }

    /// Signs a message. Whoever calls this sees to it that no message of one protocol is one of another.
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }

    pub(super) fn signing(&self) -> &SigningKey {
        &self.0
    }
}

const SECRET: &str = "k4.secret.";

impl FromStr for SecretKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let encoded = text.strip_prefix(SECRET).ok_or(KeyError::Secret)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| KeyError::Secret)?;
        let bytes = <[u8; 64]>::try_from(bytes).map_err(|_| KeyError::Secret)?;
        // This refuses a public half that does not belong to the secret one.
        SigningKey::from_keypair_bytes(&bytes).map(Self).map_err(|_| KeyError::Secret)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let encoded = text.strip_prefix("ed25519:").ok_or(KeyError::Public)?;
        let bytes = STANDARD.decode(encoded).map_err(|_| KeyError::Public)?;
        let key = VerifyingKey::try_from(bytes.as_slice()).map_err(|_| KeyError::Public)?;
        if key.is_weak() { Err(KeyError::Public) } else { Ok(Self(key)) }
    }
}

impl TryFrom<&TrustedKey> for PublicKey {
    type Error = KeyError;

    fn try_from(key: &TrustedKey) -> Result<Self, KeyError> {
        key.0.parse()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ed25519:{}", STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey of {}", self.public())
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::desired::names::hex;

    /// The official vectors of one type of PASERK.
    fn vectors(name: &str) -> Vec<Value> {
        let file = format!("{}/tests/fixtures/paseto/{name}.json", env!("CARGO_MANIFEST_DIR"));
        let document: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
        let tests = document["tests"].as_array().unwrap().clone();
        assert!(tests.len() > 3, "{name}");
        tests
    }

    fn bytes(test: &Value, field: &str) -> Vec<u8> {
        let text = test[field].as_str().unwrap();
        (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn ids_are_those_of_the_official_vectors() {
        for test in vectors("k4.pid") {
            let key = <[u8; 32]>::try_from(bytes(&test, "key"));
            let id = key.ok().map(|key| KeyId::of(&key).to_string());
            assert_eq!(id.as_deref(), test["paserk"].as_str(), "{}", test["name"]);
        }
    }

    #[test]
    fn secret_keys_are_written_as_the_official_vectors_are() {
        for test in vectors("k4.secret") {
            let whole = <[u8; 64]>::try_from(bytes(&test, "key"));
            if test["expect-fail"] == true {
                let is_a_key = whole.is_ok_and(|bytes| SigningKey::from_keypair_bytes(&bytes).is_ok());
                assert!(!is_a_key, "{}", test["name"]);
                continue;
            }
            let seed = <[u8; 32]>::try_from(bytes(&test, "secret-key-seed")).unwrap();
            let key = SecretKey::from_seed(&seed);
            assert_eq!(key.reveal(), test["paserk"].as_str().unwrap(), "{}", test["name"]);
            let read: SecretKey = test["paserk"].as_str().unwrap().parse().unwrap();
            assert_eq!(hex(read.public().0.as_bytes()), test["public-key"].as_str().unwrap());
        }
    }

    #[test]
    fn only_a_whole_key_is_a_key() {
        let key = SecretKey::from_seed(&[7; 32]);
        let (public, secret) = (key.public().to_string(), key.reveal());
        assert_eq!(public.parse::<PublicKey>(), Ok(key.public()));
        assert!(public.parse::<TrustedKey>().is_ok());
        // The point at infinity: anybody's signature is good for it.
        let weak = format!("ed25519:{}", STANDARD.encode([[1].as_slice(), &[0; 31]].concat()));
        for bad in ["", "ed25519:", &public[8..], &public[..51], &format!("{public}="), &weak, &secret] {
            assert_eq!(bad.parse::<PublicKey>(), Err(KeyError::Public), "{bad}");
            assert!(bad.parse::<TrustedKey>().is_err(), "{bad}");
        }
        let other = SecretKey::from_seed(&[8; 32]).reveal();
        let mixed = format!("{}{}", &secret[..53], &other[53..]);
        for bad in ["", "k4.secret.", &secret[..90], &public, &mixed, &secret.replace("k4", "k3")] {
            assert!(bad.parse::<SecretKey>().is_err(), "{bad}");
        }
        assert!(!format!("{key:?}").contains(&secret[10..40]), "it is not shown by accident");
    }
}
