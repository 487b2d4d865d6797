//! Codes that change with time, RFC 6238: six digits, HMAC-SHA-1, a new one every 30 s, as every authenticator has them.
//!
//! The protocol is these few lines on `hmac` and `sha1`; a crate for it would bring QR codes and URLs as well.

use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use sha1::Sha1;
use subtle::ConstantTimeEq as _;

/// How long one code lasts.
const STEP_SECONDS: i64 = 30;
/// A code that was taken so many steps (an hour) later than the one that is shown was taken by a clock that was wrong: its
/// user is not kept out until then.
pub const FAR_AHEAD: u64 = 120;
/// How many steps the clock of the authenticator may be off, either way.
const DRIFT: u64 = 1;
/// How many digits a code has.
pub const DIGITS: usize = 6;
/// The fewest bytes of a secret: 128 bits, as RFC 4226 asks for.
pub const FEWEST_BYTES: usize = 16;

/// Reads a secret as authenticators write it: base32, in groups and with padding or not.
pub fn secret(text: &str) -> Option<Vec<u8>> {
    let bare: String = text.chars().filter(|it| !it.is_whitespace() && !matches!(it, '-' | '=')).collect();
    let bytes = base32::decode(base32::Alphabet::RFC4648 { padding: false }, &bare.to_ascii_uppercase())?;
    (bytes.len() >= FEWEST_BYTES).then_some(bytes)
}

/// The step of a time.
pub fn step(at: Timestamp) -> u64 {
    u64::try_from(at.as_second() / STEP_SECONDS).unwrap_or(0)
}

/// The step whose code was shown, of those that are near; every one of them is compared, in the same time.
pub fn shown(secret: &[u8], code: &str, now: u64) -> Option<u64> {
    let near = now.saturating_sub(DRIFT)..=now + DRIFT;
    near.fold(None, |found, step| {
        let is_it = bool::from(self::code(secret, step).as_bytes().ct_eq(code.as_bytes()));
        if is_it { Some(step) } else { found }
    })
}

/// The code of a step.
fn code(secret: &[u8], step: u64) -> String {
    format!("{:06}", number(secret, step) % 1_000_000)
}

/// RFC 4226, 5.3: the dynamic truncation, 31 bits.
fn number(secret: &[u8], step: u64) -> u32 {
    let mut mac = Hmac::<Sha1>::new_from_slice(secret).expect("HMAC takes a key of any length");
    mac.update(&step.to_be_bytes());
    let digest = mac.finalize().into_bytes();
    let at = usize::from(digest[19] & 0x0f);
    u32::from_be_bytes([digest[at] & 0x7f, digest[at + 1], digest[at + 2], digest[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    /// RFC 6238, appendix B, for SHA-1: eight digits, of which ours are the last six.
    #[test]
    fn the_vectors_of_the_rfc() {
        for (second, eight) in [
            (59, 94_287_082),
            (1_111_111_109, 7_081_804),
            (1_111_111_111, 14_050_471),
            (1_234_567_890, 89_005_924),
            (2_000_000_000, 69_279_037),
            (20_000_000_000, 65_353_130),
        ] {
            let step = step(Timestamp::from_second(second).unwrap());
            assert_eq!(number(SECRET, step) % 100_000_000, eight, "{second}");
            assert_eq!(code(SECRET, step), format!("{:06}", eight % 1_000_000));
        }
    }

    /// RFC 4226, appendix D.
    #[test]
    fn the_vectors_by_counter() {
        let codes: Vec<String> = (0..10).map(|step| code(SECRET, step)).collect();
        let expected = "755224 287082 359152 969429 338314 254676 287922 162583 399871 520489";
        assert_eq!(codes.join(" "), expected);
    }

    #[test]
    fn a_clock_may_be_one_step_off_and_no_more() {
        for (off, is_found) in [(0, true), (1, true), (2, false)] {
            assert_eq!(shown(SECRET, &code(SECRET, 100 + off), 100), is_found.then_some(100 + off));
            assert_eq!(shown(SECRET, &code(SECRET, 100 - off), 100), is_found.then_some(100 - off));
        }
        for wrong in ["", "1", "12345", "1234567", "abcdef"] {
            assert_eq!(shown(SECRET, wrong, 100), None, "{wrong}");
        }
    }

    #[test]
    fn secrets_are_read_as_authenticators_write_them() {
        let written = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ";
        for text in [written, "gezd gnbv gy3t qojq gezd gnbv gy3t qojq\n", "GEZDGNBV-GY3TQOJQ-GEZDGNBV-GY3TQOJQ===="] {
            assert_eq!(secret(text).as_deref(), Some(SECRET), "{text}");
        }
        for bad in ["", "GEZDGNBVGY3TQOJQ", "0189", "päss"] {
            assert_eq!(secret(bad), None, "{bad}: too short, or no base32");
        }
    }
}
