//! Countries: ISO 3166-1 alpha-2, always strict.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The officially assigned codes of ISO 3166-1 alpha-2, in alphabetical order.
/// Source: the standard's list as maintained by the ISO 3166 Maintenance Agency (249 codes).
pub const ASSIGNED: &str = "ad ae af ag ai al am ao aq ar as at au aw ax az ba bb bd be bf bg bh bi bj bl bm bn bo bq br bs bt bv bw by bz \
ca cc cd cf cg ch ci ck cl cm cn co cr cu cv cw cx cy cz de dj dk dm do dz ec ee eg eh er es et fi fj fk fm fo fr ga gb gd ge gf gg gh gi gl \
gm gn gp gq gr gs gt gu gw gy hk hm hn hr ht hu id ie il im in io iq ir is it je jm jo jp ke kg kh ki km kn kp kr kw ky kz la lb lc li lk lr \
ls lt lu lv ly ma mc md me mf mg mh mk ml mm mn mo mp mq mr ms mt mu mv mw mx my mz na nc ne nf ng ni nl no np nr nu nz om pa pe pf pg ph pk \
pl pm pn pr ps pt pw py qa re ro rs ru rw sa sb sc sd se sg sh si sj sk sl sm sn so sr ss st sv sx sy sz tc td tf tg th tj tk tl tm tn to tr \
tt tv tw tz ua ug um us uy uz va vc ve vg vi vn vu wf ws ye yt za zm zw";

/// Codes that people write and that are not assigned, with the one they mean.
const MISTAKES: [(&str, &str); 6] =
    [("uk", "gb"), ("en", "gb"), ("su", "ru"), ("yu", "rs"), ("fx", "fr"), ("an", "cw")];

/// An assigned country code, in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

/// Why a text is not a country.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CountryError {
    /// A code that is often written in place of another.
    #[error("`{written}` is not a country of ISO 3166-1; did you mean `{meant}`?")]
    Mistaken {
        /// What stands there.
        written: String,
        /// What was probably meant.
        meant: &'static str,
    },
    /// Not an assigned code.
    #[error("`{0}` is not a country of ISO 3166-1; use a two-letter code as in `de`")]
    Unassigned(String),
}

impl FromStr for Country {
    type Err = CountryError;

    fn from_str(text: &str) -> Result<Self, CountryError> {
        let lower = text.to_ascii_lowercase();
        if let Some((_, meant)) = MISTAKES.iter().find(|(written, _)| *written == lower) {
            return Err(CountryError::Mistaken { written: text.to_owned(), meant });
        }
        if lower.len() == 2 && ASSIGNED.split_ascii_whitespace().any(|code| code == lower) {
            let bytes = lower.as_bytes();
            return Ok(Self([bytes[0], bytes[1]]));
        }
        Err(CountryError::Unassigned(text.to_owned()))
    }
}

impl TryFrom<String> for Country {
    type Error = CountryError;

    fn try_from(text: String) -> Result<Self, CountryError> {
        text.parse()
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.to_string()
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{}", char::from(*byte)))
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_assigned_code_is_read_in_both_cases() {
        assert_eq!(ASSIGNED.split_ascii_whitespace().count(), 249);
        for code in ASSIGNED.split_ascii_whitespace() {
            assert_eq!(code.parse::<Country>().unwrap().to_string(), code);
            assert_eq!(code.to_uppercase().parse::<Country>().unwrap().to_string(), code);
        }
    }

    #[test]
    fn common_mistakes_name_the_code_that_was_meant() {
        assert_eq!(
            "uk".parse::<Country>().unwrap_err().to_string(),
            "`uk` is not a country of ISO 3166-1; did you mean `gb`?"
        );
        for code in ["zz", "eu", "", "d", "deu", "ü"] {
            assert!(matches!(code.parse::<Country>(), Err(CountryError::Unassigned(_))), "{code}");
        }
    }
}
