//! Reading the address that a site saw out of its answer. Pure.

use std::net::IpAddr;

use serde::Deserialize;

/// What `check.torproject.org/api/ip` answers, and others like it.
#[derive(Debug, Deserialize)]
struct Document {
    #[serde(alias = "IP", alias = "origin", alias = "query")]
    ip: String,
}

/// Finds the address: in a JSON document that has it under a usual name, or as the whole answer.
pub fn address(body: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(body).ok()?.trim();
    let named = serde_json::from_str::<Document>(text).ok().map(|document| document.ip);
    named.as_deref().unwrap_or(text).trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_found_where_there_is_one() {
        let found = |body: &str| address(body.as_bytes()).map(|ip| ip.to_string());
        assert_eq!(found(r#"{"IsTor":true,"IP":"192.0.2.7"}"#).as_deref(), Some("192.0.2.7"));
        assert_eq!(found(r#"{"ip": "2001:db8::1"}"#).as_deref(), Some("2001:db8::1"));
        assert_eq!(found("192.0.2.7\n").as_deref(), Some("192.0.2.7"));
        for none in ["", "OK", "<html>192.0.2.7</html>", r#"{"ip":"x"}"#, "{}"] {
            assert_eq!(found(none), None, "{none}");
        }
        assert_eq!(address(&[0xFF, 0xFE]), None);
    }
}
