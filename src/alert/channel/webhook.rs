//! A POST of JSON to any URL, signed where the receiver and we share a secret.
//!
//! | header | what it says |
//! |---|---|
//! | `Idempotency-Key` | the same when a message comes twice |
//! | `Exitpool-Timestamp` | when it was sent, in seconds of the Unix epoch |
//! | `Exitpool-Signature` | `v1=` and HMAC-SHA256, in hexadecimal digits, over the timestamp, a `.` and the body |

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use serde::Serialize;
use sha2::Sha256;

use super::{Errand, Failure, taken};
use crate::alert::Notice;
use crate::desired::names::hex;
use crate::desired::secret::Secret;
use crate::secret::Revealed;

/// What is posted.
#[derive(Debug, Serialize)]
struct Body<'a> {
    /// The version of this format.
    version: u32,
    #[serde(flatten)]
    notice: &'a Notice,
}

pub(super) async fn send(url: &str, secret: Option<&Secret>, errand: &Errand<'_>) -> Result<String, Failure> {
    let body = body(errand.notice)?;
    let timestamp = Timestamp::now().as_second().to_string();
    let mut headers = vec![("idempotency-key", errand.notice.key()), ("exitpool-timestamp", timestamp.clone())];
    if let Some(secret) = secret {
        let secret = Revealed::read(secret)?;
        headers.push(("exitpool-signature", signature(secret.reveal(), &timestamp, &body)?));
    }
    taken(&errand.post(url, &headers, body).await?)
}

fn body(notice: &Notice) -> Result<Vec<u8>, Failure> {
    let body = serde_json::to_vec(&Body { version: 1, notice });
    body.map_err(|error| Failure::of_channel(error.to_string()))
}

fn signature(secret: &str, timestamp: &str, body: &[u8]) -> Result<String, Failure> {
    let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes());
    let mut mac = mac.map_err(|error| Failure::of_channel(error.to_string()))?;
    mac.update(timestamp.as_bytes());
    mac.update(b".");
    mac.update(body);
    Ok(format!("v1={}", hex(&mac.finalize().into_bytes())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf '1772366400.{"version":1}' | openssl dgst -sha256 -hmac s3cret`
    #[test]
    fn it_is_signed_as_openssl_signs() {
        let signed = signature("s3cret", "1772366400", br#"{"version":1}"#).unwrap();
        assert_eq!(signed, "v1=48477ec0b4b1346fbf0992a9e0d21556d501da4d7775f564e313784b816d3929");
    }
}
