//! Names, hosts, mail addresses, URLs and keys.

use std::path::PathBuf;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::VerifyingKey;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

use super::{ValueError, written_as_text};

/// Makes a type that holds its text, checked by a function.
macro_rules! checked_text {
    ($(#[$doc:meta])* $name:ident, $schema_name:literal, $check:expr, $what:literal, $hint:literal, $schema:tt) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
        #[serde(try_from = "String")]
        pub struct $name(pub String);

        written_as_text!($name, $schema_name, $schema);

        impl FromStr for $name {
            type Err = ValueError;

            fn from_str(text: &str) -> Result<Self, ValueError> {
                let check: fn(&str) -> bool = $check;
                if check(text) { Ok(Self(text.to_owned())) } else { Err(ValueError::new(concat!("this is not ", $what, "; ", $hint))) }
            }
        }
    };
}

/// Whether a text has from 1 to `longest` bytes, all of them allowed, the first a letter or digit.
fn is_word(text: &str, longest: usize, allowed: fn(u8) -> bool) -> bool {
    (1..=longest).contains(&text.len()) && text.as_bytes()[0].is_ascii_alphanumeric() && text.bytes().all(allowed)
}

fn is_label(text: &str) -> bool {
    is_word(text, 64, |byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'))
}

checked_text!(
    /// The name of a channel or a grant.
    Label, "Name", is_label, "a name", "use 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`",
    { "description": "A name: letters, digits, `.`, `_` and `-`.", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" }
);

checked_text!(
    /// The name of a systemd credential.
    CredentialName, "CredentialName", is_label, "the name of a credential", "use 1 to 64 of A-Z, a-z, 0-9, `.`, `_` and `-`",
    { "description": "The name of a systemd credential.", "pattern": "^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$" }
);

checked_text!(
    /// The id of a token.
    TokenId, "TokenId", |text| is_word(text, 128, |byte| byte.is_ascii_graphic()), "the id of a token",
    "copy it from `exitpool token inspect`",
    { "description": "The id of a token, as `exitpool token inspect` shows it.", "pattern": "^[A-Za-z0-9][!-~]{0,127}$" }
);

checked_text!(
    /// The name of an environment variable.
    VariableName, "VariableName",
    |text| {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        (1..=128).contains(&text.len()) && !text.as_bytes()[0].is_ascii_digit() && text.bytes().all(allowed)
    },
    "the name of an environment variable", "use A-Z, a-z, 0-9 and `_`, not starting with a digit",
    { "description": "The name of an environment variable.", "pattern": "^[A-Za-z_][A-Za-z0-9_]{0,127}$" }
);

checked_text!(
    /// A host's name or address.
    HostName, "HostName", is_host, "a host", "write a name as in `proxy.example.org`, or an address",
    { "description": "A host's name, or its IPv4 or IPv6 address.", "pattern": "^[A-Za-z0-9:]([A-Za-z0-9.:-]{0,251}[A-Za-z0-9:])?$" }
);

checked_text!(
    /// An `http` or `https` URL without a user.
    HttpUrl, "HttpUrl", |text| is_url(text, &["https://", "http://"]), "a URL of http or https",
    "write it as in `https://host.example/path`, without a user in it",
    { "description": "A URL of http or https, without a user in it.", "pattern": "^https?://[A-Za-z0-9.:\\[\\]-]+([/?][!-~]*)?$", "maxLength": 2048 }
);

checked_text!(
    /// A mail server: `smtps://` for TLS from the start, `smtp://` for STARTTLS.
    MailServer, "MailServer",
    |text| is_url(text, &["smtps://", "smtp://"]) && text.splitn(3, '/').nth(2).is_some_and(|host| !host.contains(['/', '?'])),
    "a mail server", "write it as in `smtps://mail.example.org`, without a user in it",
    { "description": "A mail server: `smtps://` for TLS from the start, `smtp://` for STARTTLS.", "pattern": "^smtps?://[A-Za-z0-9.:\\[\\]-]+$", "maxLength": 2048 }
);

checked_text!(
    /// The address of a mailbox.
    MailAddress, "MailAddress", |text| text.len() <= 320 && text.parse::<lettre::Address>().is_ok(), "a mail address",
    "write it as in `ops@example.org`",
    { "description": "The address of a mailbox.", "pattern": "^[^\\s]+@[^\\s@]+$", "maxLength": 320 }
);

checked_text!(
    /// A public key whose tokens are believed, `ed25519:<base64 of 32 bytes>`.
    TrustedKey, "TrustedKey", is_ed25519_key, "a public key",
    "write `ed25519:` and 44 characters of base64, as `exitpool token public` prints it",
    { "description": "A public key: `ed25519:` and the base64 of its 32 bytes.", "pattern": "^ed25519:[A-Za-z0-9+/]{43}=$" }
);

fn is_host(text: &str) -> bool {
    let is_part =
        |part: &str| is_word(part, 63, |byte| byte.is_ascii_alphanumeric() || byte == b'-') && !part.ends_with('-');
    text.parse::<std::net::IpAddr>().is_ok() || (text.len() <= 253 && text.split('.').all(is_part))
}

fn is_url(text: &str, schemes: &[&str]) -> bool {
    let Some(rest) = schemes.iter().find_map(|scheme| text.strip_prefix(scheme)) else { return false };
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    text.len() <= 2048 && text.bytes().all(|byte| byte.is_ascii_graphic()) && is_authority(authority)
}

/// Whether a text is `host`, `host:port`, `[v6]` or `[v6]:port`.
fn is_authority(text: &str) -> bool {
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|port| port > 0);
    if let Some(rest) = text.strip_prefix('[') {
        let Some((address, after)) = rest.split_once(']') else { return false };
        let port_is_good = after.is_empty() || after.strip_prefix(':').is_some_and(is_port);
        return address.parse::<std::net::Ipv6Addr>().is_ok() && port_is_good;
    }
    match text.split_once(':') {
        Some((host, port)) => is_host(host) && is_port(port),
        None => is_host(text),
    }
}

fn is_ed25519_key(text: &str) -> bool {
    let encoded = text.strip_prefix("ed25519:").filter(|encoded| encoded.len() == 44);
    let bytes = encoded.and_then(|encoded| STANDARD.decode(encoded).ok());
    let key = bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
    let key = key.and_then(|key| VerifyingKey::from_bytes(&key).ok());
    // Anybody can sign for a weak key.
    key.is_some_and(|key| !key.is_weak())
}

/// The file that holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct SecretPath(pub PathBuf);

written_as_text!(SecretPath, "AbsolutePath", {
    "description": "An absolute path.",
    "pattern": "^/[^\\u0000\\n]+$"
});

impl FromStr for SecretPath {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let good = text.starts_with('/') && text.len() > 1 && !text.contains(['\0', '\n']);
        if good {
            Ok(Self(text.into()))
        } else {
            Err(ValueError::new("this is not an absolute path; start it with `/`"))
        }
    }
}

/// A chat of Telegram: a number, or `@name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatId(pub String);

impl FromStr for ChatId {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let is_number =
            |digits: &str| (1..=20).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
        let is_name = |name: &str| is_word(name, 64, |byte| byte.is_ascii_alphanumeric() || byte == b'_');
        let good = is_number(text.strip_prefix('-').unwrap_or(text)) || text.strip_prefix('@').is_some_and(is_name);
        if good {
            Ok(Self(text.to_owned()))
        } else {
            Err(ValueError::new("this is not a chat; write its number, or `@name`"))
        }
    }
}

impl<'de> Deserialize<'de> for ChatId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ChatIdVisitor)
    }
}

struct ChatIdVisitor;

impl Visitor<'_> for ChatIdVisitor {
    type Value = ChatId;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the number of a chat, or `@name`")
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<ChatId, E> {
        Ok(ChatId(number.to_string()))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<ChatId, E> {
        number.to_string().parse().map_err(E::custom)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<ChatId, E> {
        text.parse().map_err(E::custom)
    }
}

impl JsonSchema for ChatId {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ChatId".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A chat of Telegram: its number, or `@name`.",
            "anyOf": [{ "type": "string", "pattern": "^(-?[0-9]{1,20}|@[A-Za-z0-9][A-Za-z0-9_]{0,63})$" }, { "type": "integer" }],
        })
    }
}
