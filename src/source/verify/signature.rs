//! One signature: OpenSSH's SSHSIG over some bytes, by a key that is trusted now.

use ssh_key::public::KeyData;
use ssh_key::{HashAlg, PublicKey, SshSig};

use super::object::ARMOUR_BEGIN;
use super::signers::{Distrust, Signers};

/// The namespace that git signs in.
pub const NAMESPACE: &str = "git";

const ARMOUR_END: &str = "-----END SSH SIGNATURE-----";
/// How long OpenSSH makes the lines of an armour; the decoder insists on lines of one length.
const ARMOUR_WIDTH: usize = 70;
/// The flag that a hardware key sets when somebody has touched it (FIDO's `UP`).
const USER_PRESENT: u8 = 0x01;
/// A hardware key's signature ends in its flags (one byte) and a counter (four).
const FLAGS_FROM_END: usize = 5;

/// Which keys are believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Keys {
    /// All trusted ones.
    #[default]
    Any,
    /// Only those that live in a hardware token (`sk-…`).
    Hardware,
}

/// Who signed, and with which key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Signer {
    /// The principals of the line of the allowed signers.
    pub principals: String,
    /// The key's fingerprint, `SHA256:…`.
    pub key: String,
}

/// Why a signature is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It is of another kind, such as OpenPGP.
    #[error("its signature is not one of SSH; sign with `git config gpg.format ssh`")]
    OtherKind,
    /// Its armour, or what is in it, is damaged.
    #[error("its signature is damaged")]
    Damaged,
    /// It was made for something else.
    #[error("its signature by {key} was made for `{namespace}`, not for `{NAMESPACE}`")]
    Namespace {
        /// The key.
        key: String,
        /// What for.
        namespace: String,
    },
    /// The key does not count.
    #[error("it is signed by {key}, which is not trusted: {why}")]
    Distrusted {
        /// The key.
        key: String,
        /// Why.
        why: Distrust,
    },
    /// The key does not live in a hardware token.
    #[error("it is signed by {key} of {principals}, and only hardware keys count (`--require-hardware-keys`)")]
    Software {
        /// The key.
        key: String,
        /// Whose it is.
        principals: String,
    },
    /// The hardware token signed without being touched.
    #[error("it is signed by {key} of {principals}, whose hardware key was not touched")]
    Untouched {
        /// The key.
        key: String,
        /// Whose it is.
        principals: String,
    },
    /// It is not a signature over these bytes by this key.
    #[error("its signature by {key} is over something else: it was changed after it was signed")]
    Wrong {
        /// The key.
        key: String,
    },
}

/// Checks a signature over a payload.
pub fn check(armour: &[u8], payload: &[u8], signers: &Signers, keys: Keys) -> Result<Signer, Fault> {
    let signature = read(armour)?;
    let public = signature.public_key();
    let key = public.fingerprint(HashAlg::Sha256).to_string();
    if signature.namespace() != NAMESPACE {
        let namespace = signature.namespace().escape_default().take(40).collect();
        return Err(Fault::Namespace { key, namespace });
    }
    let principals = match signers.principals(public) {
        Ok(principals) => principals.to_owned(),
        Err(why) => return Err(Fault::Distrusted { key, why }),
    };
    if signature.algorithm() != public.algorithm()
        || PublicKey::from(public.clone()).verify(NAMESPACE, payload, &signature).is_err()
    {
        return Err(Fault::Wrong { key });
    }
    match hardware(public, &signature) {
        Hardware::None if keys == Keys::Hardware => Err(Fault::Software { key, principals }),
        Hardware::Untouched => Err(Fault::Untouched { key, principals }),
        Hardware::None | Hardware::Touched => Ok(Signer { principals, key }),
    }
}

/// What is known about a signature's hardware token.
enum Hardware {
    None,
    Touched,
    Untouched,
}

fn hardware(public: &KeyData, signature: &SshSig) -> Hardware {
    if !public.is_sk_ed25519() && !public.is_sk_ecdsa_p256() {
        return Hardware::None;
    }
    let bytes = signature.signature_bytes();
    let flags = bytes.len().checked_sub(FLAGS_FROM_END).and_then(|at| bytes.get(at));
    if flags.is_some_and(|flags| flags & USER_PRESENT != 0) { Hardware::Touched } else { Hardware::Untouched }
}

/// Reads an armoured signature; its lines may have any length, and nothing may stand around it.
fn read(armour: &[u8]) -> Result<SshSig, Fault> {
    let text = std::str::from_utf8(armour).map_err(|_| Fault::Damaged)?.trim_end();
    let body = match text.strip_prefix(ARMOUR_BEGIN) {
        Some(body) => body.strip_suffix(ARMOUR_END).ok_or(Fault::Damaged)?,
        None if text.starts_with("-----BEGIN ") => return Err(Fault::OtherKind),
        None => return Err(Fault::Damaged),
    };
    let digits: Vec<u8> = body.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let lines = digits.chunks(ARMOUR_WIDTH).map(|line| [line, b"\n"].concat()).collect::<Vec<_>>().concat();
    let pem = [ARMOUR_BEGIN.as_bytes(), b"\n", &lines, ARMOUR_END.as_bytes(), b"\n"].concat();
    let signature = SshSig::from_pem(pem).map_err(|_| Fault::Damaged)?;
    let known = signature.version() == SshSig::VERSION && signature.reserved().is_empty();
    if known { Ok(signature) } else { Err(Fault::Damaged) }
}
