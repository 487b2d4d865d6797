//! What is believed of a token: all of it, from the right key, unchanged to the last bit.

use pasetors::Public;
use pasetors::keys::AsymmetricPublicKey;
use pasetors::paserk::Id;
use pasetors::token::UntrustedToken;
use pasetors::version4::{PublicToken, V4};
use proptest::prelude::*;

use super::*;

fn key(number: u8) -> SecretKey {
    SecretKey::from_seed(&[number; 32])
}

fn claims() -> Claims {
    let at = |text: &str| text.parse().unwrap();
    Claims {
        aud: Audience::Export,
        jti: "0f".repeat(16),
        grant: "crawler".to_owned(),
        iat: at("2026-03-01T12:00:00Z"),
        nbf: at("2026-03-01T12:00:00Z"),
        exp: at("2026-03-01T13:00:00Z"),
        bind: vec!["203.0.113.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
        formats: vec![ExportFormat::Txt],
        pools: vec!["eu".parse().unwrap()],
    }
}

#[test]
fn what_is_issued_is_believed_by_whoever_trusts_the_key() {
    let token = issue(&key(1), &claims()).unwrap();
    let (one, two, three) = (key(1).public(), key(2).public(), key(3).public());
    assert_eq!(verify(&token, &[one]), Ok(claims()));
    assert_eq!(verify(&token, &[two, three, one]), Ok(claims()), "several keys overlap while one replaces another");
    assert_eq!(verify(&token, &[two, three]), Err(NotValid));
    assert_eq!(verify(&token, &[]), Err(NotValid));
    assert_eq!(inspect(&token), Ok((claims(), one.id().to_string())));
    let short = Claims { bind: Vec::new(), formats: Vec::new(), pools: Vec::new(), ..claims() };
    let token = issue(&key(1), &short).unwrap();
    assert_eq!(verify(&token, &[one]), Ok(short));
}

/// A second implementation reads a token, and calls its key by the same id.
#[test]
fn a_second_implementation_believes_it_too() {
    let token = issue(&key(1), &claims()).unwrap();
    let public = AsymmetricPublicKey::<V4>::from(key(1).public().verifying().as_bytes()).unwrap();
    let untrusted = UntrustedToken::<Public, V4>::try_from(&token).unwrap();
    let trusted = PublicToken::verify(&public, &untrusted, None, None).unwrap();
    assert_eq!(serde_json::from_str::<Claims>(trusted.payload()).unwrap(), claims());
    let mut id = String::new();
    pasetors::paserk::FormatAsPaserk::fmt(&Id::from(&public), &mut id).unwrap();
    assert_eq!(key(1).public().id().to_string(), id);
    assert_eq!(untrusted.untrusted_footer(), format!("{{\"kid\":\"{id}\"}}").as_bytes());
}

#[test]
fn what_is_signed_for_another_purpose_or_says_more_is_not_believed() {
    let signing = key(1);
    let kid = format!("{{\"kid\":\"{}\"}}", signing.public().id());
    let good = serde_json::to_string(&claims()).unwrap();
    let believed = |message: &str, footer: &str| {
        let token = paseto::sign(signing.signing(), message.as_bytes(), footer.as_bytes(), NOTHING_IMPLIED);
        verify(&token, &[signing.public()]).is_ok()
    };
    assert!(believed(&good, &kid));
    for message in [
        good.replace("exitpool-export", "exitpool-login"),
        good.replace("\"aud\":\"exitpool-export\",", ""),
        good.replace("{\"aud\"", "{\"only_on\":\"sunday\",\"aud\""),
        good.replace("{\"aud\"", "{\"grant\":\"admin\",\"aud\""),
        good.replace("\"exp\"", "\"expires\""),
        good.replace("2026-03-01T13:00:00Z", "never"),
        good.replace("203.0.113.0/24", "everywhere"),
        good.replace("\"txt\"", "\"exe\""),
        String::new(),
        "[]".to_owned(),
        "[".repeat(2000),
    ] {
        assert!(message != good && !believed(&message, &kid), "{message}");
    }
    let twice = kid.replace('}', &format!(",{}", &kid[1..]));
    for footer in ["", "{}", "kid", &kid.replace("k4.pid", "k3.pid"), &kid.replace('}', ",\"alg\":\"none\"}"), &twice] {
        assert!(!believed(&good, footer), "{footer}");
    }
}

#[test]
fn a_token_that_would_be_refused_for_its_length_is_not_issued() {
    let bind = (0..200).map(|number| format!("203.0.{number}.0/24").parse().unwrap()).collect();
    assert!(matches!(issue(&key(1), &Claims { bind, ..claims() }), Err(IssueError::TooLong(_))));
}

#[test]
fn every_flipped_bit_is_noticed() {
    let token = issue(&key(1), &claims()).unwrap();
    let trusted = [key(1).public()];
    assert!(verify(&token, &trusted).is_ok());
    for at in 0..token.len() {
        for bit in 0..8 {
            let mut bytes = token.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            // What is no text does not even come so far.
            let Ok(changed) = String::from_utf8(bytes) else { continue };
            assert_eq!(verify(&changed, &trusted), Err(NotValid), "bit {bit} of byte {at}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    /// Bits of what is encoded, too: of the message, the signature and the footer.
    #[test]
    fn no_changed_token_is_believed(
        grant in "[a-z]{1,20}",
        part in 0_usize..2,
        place in any::<prop::sample::Index>(),
        bit in 0_u8..8,
        cut in any::<prop::sample::Index>(),
    ) {
        use base64::Engine as _;
        use base64::engine::general_purpose::URL_SAFE_NO_PAD;
        let token = issue(&key(1), &Claims { grant, ..claims() }).unwrap();
        let trusted = [key(1).public()];
        let parts: Vec<&str> = token.split('.').collect();
        let mut decoded = [URL_SAFE_NO_PAD.decode(parts[2]).unwrap(), URL_SAFE_NO_PAD.decode(parts[3]).unwrap()];
        let at = place.index(decoded[part].len());
        decoded[part][at] ^= 1 << bit;
        let [body, footer] = decoded.map(|bytes| URL_SAFE_NO_PAD.encode(bytes));
        let flipped = format!("v4.public.{body}.{footer}");
        prop_assert_eq!(verify(&flipped, &trusted), Err(NotValid));
        let short = &token[..cut.index(token.len())];
        prop_assert_eq!(verify(short, &trusted), Err(NotValid));
    }
}
