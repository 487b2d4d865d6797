//! PASETO v4.public: messages that are signed with Ed25519 and can be read by everybody.
//!
//! The protocol and nothing else, as in <https://github.com/paseto-standard/paseto-spec> (docs/01-Protocol-Versions/
//! Version4.md, docs/01-Protocol-Versions/Common.md). It has no choice of algorithms: the header is the whole header.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};

/// What every token of this version and purpose begins with.
const HEADER: &str = "v4.public.";
/// The longest token that is looked at: far more than any of ours has.
pub const MAX_TOKEN_BYTES: usize = 4096;

/// This is no token, or nobody who is trusted has signed it. It does not say which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is not a valid token")]
pub struct NotValid;

/// A token that was taken apart and not verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unverified {
    message: Vec<u8>,
    signature: [u8; Signature::BYTE_SIZE],
    footer: Vec<u8>,
}

/// Signs a message, with a footer that is signed as well, for an implicit assertion that is not sent along.
pub fn sign(key: &SigningKey, message: &[u8], footer: &[u8], implicit: &[u8]) -> String {
    let signed = authenticated(message, footer, implicit);
    let body = [message, &key.sign(&signed).to_bytes()].concat();
    let mut token = format!("{HEADER}{}", URL_SAFE_NO_PAD.encode(body));
    if !footer.is_empty() {
        token.push('.');
        token.push_str(&URL_SAFE_NO_PAD.encode(footer));
    }
    token
}

impl Unverified {
    /// Takes a token apart.
    pub fn read(token: &str) -> Result<Self, NotValid> {
        let rest = token.strip_prefix(HEADER).filter(|_| token.len() <= MAX_TOKEN_BYTES).ok_or(NotValid)?;
        let (body, footer) = match rest.split_once('.') {
            // A footer that is empty has no dot before it.
            Some((_, "")) => return Err(NotValid),
            Some((body, footer)) => (body, footer),
            None => (rest, ""),
        };
        let decode = |text| URL_SAFE_NO_PAD.decode(text).map_err(|_| NotValid);
        let (body, footer) = (decode(body)?, decode(footer)?);
        let (message, signature) = body.split_last_chunk().ok_or(NotValid)?;
        Ok(Self { message: message.to_vec(), signature: *signature, footer })
    }

    /// The footer, which nobody has vouched for yet.
    pub fn footer(&self) -> &[u8] {
        &self.footer
    }

    /// The message, which nobody has vouched for yet.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// Gives the message if the key's owner has signed it, this footer and this implicit assertion.
    pub fn verify(self, key: &VerifyingKey, implicit: &[u8]) -> Result<Vec<u8>, NotValid> {
        let signed = authenticated(&self.message, &self.footer, implicit);
        let signature = Signature::from_bytes(&self.signature);
        key.verify_strict(&signed, &signature).map_err(|_| NotValid)?;
        Ok(self.message)
    }
}

/// What is signed.
fn authenticated(message: &[u8], footer: &[u8], implicit: &[u8]) -> Vec<u8> {
    pre_authentication_encoding(&[HEADER.as_bytes(), message, footer, implicit])
}

/// Writes pieces one after the other so that no other pieces are written alike: PAE of the specification.
///
/// The number of pieces, then each with its length before it; numbers have 64 bits, little-endian, the highest 0.
pub fn pre_authentication_encoding(pieces: &[&[u8]]) -> Vec<u8> {
    let number = |number: usize| (number as u64 & (u64::MAX >> 1)).to_le_bytes();
    let mut encoded = number(pieces.len()).to_vec();
    for piece in pieces {
        encoded.extend(number(piece.len()));
        encoded.extend(*piece);
    }
    encoded
}

#[cfg(test)]
mod tests;
