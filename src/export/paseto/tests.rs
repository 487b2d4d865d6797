//! The official test vectors (tests/fixtures/paseto has their source), and a second implementation.

use pasetors::keys::{AsymmetricPublicKey, AsymmetricSecretKey};
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use pasetors::{Public, keys::AsymmetricKeyPair, keys::Generate as _};
use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn vectors() -> Vec<Value> {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/paseto/v4.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(file).unwrap()).unwrap();
    document["tests"].as_array().unwrap().clone()
}

fn bytes(text: &str) -> Vec<u8> {
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

fn text<'a>(vector: &'a Value, field: &str) -> &'a str {
    vector[field].as_str().unwrap()
}

#[test]
fn the_official_vectors_of_v4_public_are_made_and_read() {
    let vectors: Vec<Value> = vectors().into_iter().filter(|it| text(it, "name").starts_with("4-S-")).collect();
    assert_eq!(vectors.len(), 3);
    for vector in vectors {
        let seed: [u8; 32] = bytes(text(&vector, "secret-key-seed")).try_into().unwrap();
        let key = SigningKey::from_bytes(&seed);
        assert_eq!(key.verifying_key().as_bytes()[..], bytes(text(&vector, "public-key"))[..]);
        let (payload, footer) = (text(&vector, "payload").as_bytes(), text(&vector, "footer").as_bytes());
        let (token, implicit) = (text(&vector, "token"), text(&vector, "implicit-assertion").as_bytes());
        assert_eq!(sign(&key, payload, footer, implicit), token, "{}", vector["name"]);
        let unverified = Unverified::read(token).unwrap();
        assert_eq!(unverified.footer(), footer);
        assert_eq!(unverified.clone().verify(&key.verifying_key(), implicit).unwrap(), payload);
        assert_eq!(unverified.verify(&key.verifying_key(), b"another"), Err(NotValid));
    }
}

/// Those of v4.local are no tokens of v4.public, and those that must fail do.
#[test]
fn the_official_vectors_that_must_fail_fail() {
    let mut seen = 0;
    for vector in vectors() {
        let (name, token) = (text(&vector, "name"), text(&vector, "token"));
        if name.starts_with("4-S-") {
            continue;
        }
        // One of them is a token of v4.public, shown with a key of v4.local.
        let key = vector["key"].as_str().map(bytes).and_then(|key| VerifyingKey::try_from(key.as_slice()).ok());
        let implicit = text(&vector, "implicit-assertion").as_bytes();
        let is_believed = Unverified::read(token)
            .is_ok_and(|unverified| key.is_some_and(|key| unverified.verify(&key, implicit).is_ok()));
        assert!(!is_believed, "{name}");
        assert_eq!(Unverified::read(token).is_ok(), token.starts_with(HEADER), "{name}");
        seen += 1;
    }
    assert_eq!(seen, 14);
}

#[test]
fn pieces_are_encoded_as_the_specification_says() {
    assert_eq!(pre_authentication_encoding(&[]), [0; 8]);
    let encoded = pre_authentication_encoding(&[b"", b"test"]);
    assert_eq!(encoded, b"\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x04\0\0\0\0\0\0\0test");
}

#[test]
fn a_token_that_is_written_in_another_way_is_none() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let token = sign(&key, b"{}", b"{\"kid\":1}", b"");
    assert!(Unverified::read(&token).is_ok());
    let bare = sign(&key, b"{}", b"", b"");
    let long = format!("{bare}.{}", "A".repeat(MAX_TOKEN_BYTES));
    for other in [
        String::new(),
        "v4.public.".to_owned(),
        "v4.public.AAAA".to_owned(),
        format!("{bare}."),
        format!("{bare}="),
        format!("{token}="),
        format!("{token}.AAAA"),
        format!(" {token}"),
        format!("{token}\n"),
        token.replace("v4.public", "v4.local"),
        token.replace("v4.public", "V4.public"),
        long,
    ] {
        assert_eq!(Unverified::read(&other), Err(NotValid), "{other}");
    }
}

/// Both ways: what we sign is read by `pasetors`, and what it signs is read by us.
#[test]
fn a_second_implementation_is_of_one_mind_with_this_one() {
    for (seed, footer, implicit) in [(1, "", ""), (2, "{\"kid\":\"x\"}", ""), (3, "footer", "implied")] {
        let key = SigningKey::from_bytes(&[seed; 32]);
        let secret = AsymmetricSecretKey::<V4>::from(&key.to_keypair_bytes()).unwrap();
        let public = AsymmetricPublicKey::<V4>::from(key.verifying_key().as_bytes()).unwrap();
        let message = format!("{{\"number\":{seed}}}");
        let ours = sign(&key, message.as_bytes(), footer.as_bytes(), implicit.as_bytes());
        let untrusted = UntrustedToken::<Public, V4>::try_from(&ours).unwrap();
        let theirs = Some(footer.as_bytes()).filter(|footer| !footer.is_empty());
        let read = PublicToken::verify(&public, &untrusted, theirs, Some(implicit.as_bytes())).unwrap();
        assert_eq!(read.payload(), message);
        let signed = PublicToken::sign(&secret, message.as_bytes(), theirs, Some(implicit.as_bytes())).unwrap();
        assert_eq!(signed, ours, "Ed25519 has one signature for one message");
    }
    let pair = AsymmetricKeyPair::<V4>::generate().unwrap();
    let signed = PublicToken::sign(&pair.secret, b"hello", Some(b"foot"), None).unwrap();
    let key = VerifyingKey::try_from(pair.public.as_bytes()).unwrap();
    assert_eq!(Unverified::read(&signed).unwrap().verify(&key, b"").unwrap(), b"hello");
    let other = SigningKey::from_bytes(&[9; 32]).verifying_key();
    assert_eq!(Unverified::read(&signed).unwrap().verify(&other, b""), Err(NotValid));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn whatever_is_signed_is_read_and_no_text_makes_it_panic(
        message in prop::collection::vec(any::<u8>(), 0..200),
        footer in prop::collection::vec(any::<u8>(), 0..60),
        noise in ".{0,200}",
    ) {
        let key = SigningKey::from_bytes(&[7; 32]);
        let token = sign(&key, &message, &footer, b"");
        let read = Unverified::read(&token).unwrap();
        prop_assert_eq!(read.footer(), &footer[..]);
        prop_assert_eq!(read.verify(&key.verifying_key(), b"").unwrap(), message);
        for text in [noise.clone(), format!("{HEADER}{noise}")] {
            // Whatever can be taken apart at all has no signature.
            let unsigned = Unverified::read(&text).map_or(true, |it| it.verify(&key.verifying_key(), b"").is_err());
            prop_assert!(unsigned, "{}", text);
        }
    }
}
