//! What is compared and not kept: the text of a torrc, and the values of options that may be secret. Pure.
//!
//! Two values are the same where their digests are, so a digest is all that a snapshot, a memory or a message has to
//! have. It hides no value that somebody can guess: what has one is still not for everybody.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::desired::Instance;
use crate::desired::names::hex;

/// What a digest begins with.
const MARK: &str = "sha256:";
/// How many hexadecimal digits follow.
const DIGITS: usize = 64;

/// Options whose values may hold passwords, keys, or the addresses of bridges and proxies, in lower case.
const SECRETS: &[&str] = &[
    "__hashedcontrolsessionpassword",
    "bridge",
    "bridgepassword",
    "clienttransportplugin",
    "hashedcontrolpassword",
    "hidservauth",
    "httpproxy",
    "httpproxyauthenticator",
    "httpsproxy",
    "httpsproxyauthenticator",
    "servertransportoptions",
    "servertransportplugin",
    "socks4proxy",
    "socks5proxy",
    "socks5proxypassword",
    "socks5proxyusername",
    "tcpproxy",
];

/// A torrc, by the SHA-256 of its text: `sha256:<64 hex>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct TorrcDigest(String);

impl TorrcDigest {
    /// Digests a torrc.
    pub fn of(text: &str) -> Self {
        Self(digest(text))
    }
}

impl fmt::Display for TorrcDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Whether an option's values may be secret. tor minds no case and completes what is cut short, and so does this.
pub fn may_be_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    !name.is_empty() && SECRETS.iter().any(|secret| secret.starts_with(&name))
}

/// Puts digests in the places of values that may be secret; what is a digest already stays.
pub fn conceal(name: &str, values: Vec<String>) -> Vec<String> {
    if !may_be_secret(name) {
        return values;
    }
    values.into_iter().map(|value| if is_digest(&value) { value } else { digest(&value) }).collect()
}

/// The same for all of an instance's own options.
pub fn without_secrets(mut instance: Instance) -> Instance {
    if instance.torrc.keys().any(|name| may_be_secret(name)) {
        for (name, values) in Arc::make_mut(&mut instance.torrc) {
            *values = conceal(name, std::mem::take(values));
        }
    }
    instance
}

fn digest(text: &str) -> String {
    format!("{MARK}{}", hex(&Sha256::digest(text)))
}

fn is_digest(text: &str) -> bool {
    let digits = text.strip_prefix(MARK).unwrap_or_default();
    digits.len() == DIGITS && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_secret_is_known_however_it_is_spelled() {
        for name in ["Bridge", "bridge", "HTTPSProxyAuthenticator", "httpsproxyauth", "HashedControlPassword"] {
            assert!(may_be_secret(name), "{name}");
        }
        for name in ["", "SocksPort", "ExitNodes", "CookieAuthFile", "MaxMemInQueues", "BridgeRelay", "UseBridges"] {
            assert!(!may_be_secret(name), "{name}");
        }
    }

    #[test]
    fn a_secret_is_concealed_once_and_nothing_else_is() {
        let values = || vec!["obfs4 192.0.2.1:443 cert=x".to_owned()];
        let once = conceal("Bridge", values());
        assert_eq!(once, [format!("sha256:{}", hex(&Sha256::digest("obfs4 192.0.2.1:443 cert=x")))]);
        assert_eq!(conceal("bridge", once.clone()), once);
        assert_eq!(conceal("ContactInfo", values()), values());
    }
}
