//! Each word's spellings, good and bad; the schema's pattern says the same of every one.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::Duration;

use schemars::{JsonSchema, SchemaGenerator};

use super::*;

/// Checks that texts are read, or not, and that the schema agrees where a schema can.
fn check<T: FromStr + JsonSchema + Debug>(good: &[&str], bad: &[&str], bad_for_the_loader_alone: &[&str])
where
    T::Err: Debug,
{
    let schema = SchemaGenerator::default().into_root_schema_for::<T>().to_value();
    let validator = jsonschema::options().should_validate_formats(true).build(&schema).unwrap();
    let fits = |text: &str| validator.is_valid(&serde_json::Value::from(text));
    for text in good {
        assert!(text.parse::<T>().is_ok(), "{text:?} is refused: {:?}", text.parse::<T>());
        assert!(fits(text), "the schema refuses {text:?}");
    }
    for text in bad {
        assert!(text.parse::<T>().is_err(), "{text:?} is read");
        assert!(!fits(text), "the schema accepts {text:?}");
    }
    for text in bad_for_the_loader_alone {
        assert!(text.parse::<T>().is_err(), "{text:?} is read");
    }
}

#[test]
fn times() {
    let good = ["0s", "30s", "10m", "90m", "1h30m", "2d", "1d2h3m4s", "999999d"];
    check::<Period>(&good, &["", "s", "10", "10 m", "1m1h", "1h1h", "-1s", "1.5h", "10ms", "1234567s", "1w"], &[]);
    assert_eq!("1d2h3m4s".parse(), Ok(Period(Duration::from_secs(93_784))));
}

#[test]
fn sizes() {
    let good = ["1 KB", "100 MB", "100MB", "2 GB", "999999 GB"];
    check::<Size>(
        &good,
        &["", "0 MB", "100", "MB", "1.5 MB", "-1 MB", "1  MB", "1 mb", "1 TB", "1234567 KB", "01 MB"],
        &[],
    );
    assert_eq!("100 MB".parse(), Ok(Size(104_857_600)));
}

#[test]
fn shares() {
    check::<Percent>(&["0%", "7%", "20%", "100%"], &["", "%", "20", "101%", "020%", "-1%", "1.5%", "20 %"], &[]);
}

#[test]
fn rates() {
    check::<PerSecond>(&["1/second", "999999/second"], &["", "0/second", "10", "10/minute", "1000000/second"], &[]);
}

#[test]
fn ranges_of_ports() {
    let beyond = ["40099-40000", "1-70000"];
    check::<PortRange>(&["1-1", "40000-40099"], &["", "40000", "0-1", "1-", "-1", "01-2", "1-2-3", "1 - 2"], &beyond);
}

#[test]
fn addresses() {
    check::<ListenAddress>(&["0.0.0.0", "::1", "2001:db8::1"], &["", "localhost", "0.0.0.0/0", "1.2.3"], &[]);
    let good = ["203.0.113.7", "203.0.113.0/24", "0.0.0.0/0", "::/0", "2001:db8::/32", "::ffff:1.2.3.4", "::1/128"];
    let bad = ["", "any", "203.0.113.0/33", "203.0.113.0/024", "203.0.113", "::1/129", "proxy.example.org", "1.2.3.4/"];
    check::<Peer>(&good, &bad, &["203.0.113.256", "1::2::3"]);
    check::<SshPeer>(&["any", "203.0.113.0/24"], &["", "ANY", "everybody"], &["203.0.113.256"]);
}

#[test]
fn host_bits_are_told_from_a_network() {
    let peer: Peer = "203.0.113.7/24".parse().unwrap();
    assert!(peer.has_host_bits());
    assert_eq!(peer.network().to_string(), "203.0.113.0/24");
    let host: Peer = "2001:db8::1".parse().unwrap();
    assert!(!host.has_host_bits());
    assert_eq!(host.network().to_string(), "2001:db8::1/128");
}

#[test]
fn names() {
    check::<Label>(&["mail", "a.b_c-D9"], &["", "-a", "a b", "é", &"a".repeat(65)], &[]);
    check::<CredentialName>(&["smtp-password"], &["", "../x", "a/b"], &[]);
    check::<VariableName>(&["A", "_a9"], &["", "9A", "A-B", "A=B"], &[]);
    check::<TokenId>(&["01JD2Z", "a:b"], &["", "a b", "ü"], &[]);
    check::<SecretPath>(&["/etc/exitpool/token"], &["", "/", "relative", "/a\nb"], &[]);
    check::<PoolName>(&["eu", "a", "eu-west-1"], &["", "EU", "eu-", "9x", &"a".repeat(33)], &[]);
}

#[test]
fn hosts_and_urls() {
    check::<HostName>(&["proxy.example.org", "localhost", "203.0.113.7", "::1"], &["", "a b", "-a", "a/b"], &["a..b"]);
    let good = ["https://ops.example.org/exitpool?x=1", "http://127.0.0.1:9093", "https://[::1]:443/", "http://a?b"];
    let bad = ["", "ftp://a", "https://", "https://user:word@host/", "https://a b", "http://a/\n", "https:/a"];
    check::<HttpUrl>(&good, &bad, &["http://a:0", "http://a:70000", "http://[1.2.3.4]"]);
    let bad = ["", "mail.example.org", "smtps://u:p@mail.example.org", "smtps://mail.example.org/"];
    check::<MailServer>(&["smtps://mail.example.org", "smtp://mail.example.org:587"], &bad, &["smtp://a:x"]);
    check::<MailAddress>(&["ops@example.org"], &["", "ops", "ops@", "a b@example.org"], &["@@example.org"]);
}

#[test]
fn chats() {
    check::<ChatId>(&["-100123", "42", "@ops_team"], &["", "ops", "@", "-", "1.5"], &[]);
}

#[test]
fn keys() {
    let good = "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";
    // The last two have the right shape: one is not base64 in canonical form, the other is no point of the curve.
    let beyond = [
        "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURp=",
        "ed25519:AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    ];
    check::<TrustedKey>(&[good], &["", "ed25519:", "rsa:AAAA", "ed25519:AAAA"], &beyond);
}

#[test]
fn countries_and_fingerprints() {
    check::<Country>(&["de", "DE", "De"], &["", "uk", "zz", "deu", "d"], &[]);
    let digits = "000102030405060708090a0b0c0d0e0f10111213";
    check::<Fingerprint>(&[digits, &format!("${}", digits.to_uppercase())], &["", "00", &format!("{digits}00")], &[]);
}
