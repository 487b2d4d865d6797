//! Amounts: times, shares and rates.

use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use super::{ValueError, written_as_text};

/// A span of time, as in `10m`, `1h30m` or `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Period(pub Duration);

written_as_text!(Period, "Duration", {
    "description": "A span of time: days, hours, minutes and seconds, in this order, as in `10m` or `1h30m`.",
    "pattern": "^([0-9]{1,6}d)?([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$",
    "minLength": 2
});

impl FromStr for Period {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
        let refuse =
            || ValueError::new(format!("`{text}` is not a span of time; write it as in `30s`, `10m`, `1h30m` or `2d`"));
        let (mut rest, mut seconds) = (text, 0);
        for (unit, length) in UNITS {
            let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
            if digits == 0 || !rest[digits..].starts_with(unit) {
                continue;
            }
            let number = Some(&rest[..digits]).filter(|digits| digits.len() <= 6).ok_or_else(refuse)?;
            seconds += number.parse::<u64>().map_err(|_| refuse())? * length;
            rest = &rest[digits + 1..];
        }
        if rest.is_empty() && !text.is_empty() { Ok(Self(Duration::from_secs(seconds))) } else { Err(refuse()) }
    }
}

/// A size, as in `100 MB`, in bytes; as with tor, a unit is 1024 of the one below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Size(pub u64);

written_as_text!(Size, "Size", {
    "description": "A size in KB, MB or GB, each 1024 of the one before, as in `100 MB`.",
    "pattern": "^[1-9][0-9]{0,5} ?(KB|MB|GB)$"
});

impl FromStr for Size {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        const UNITS: [(&str, u64); 3] = [("KB", 1 << 10), ("MB", 1 << 20), ("GB", 1 << 30)];
        let read = |(unit, bytes): &(&str, u64)| {
            let digits = text.strip_suffix(unit)?;
            let digits = digits.strip_suffix(' ').unwrap_or(digits);
            let number: u64 = digits.parse().ok().filter(|_| plain_number(digits) && digits.len() <= 6)?;
            (number > 0).then_some(Self(number * bytes))
        };
        let refuse = || ValueError::new(format!("`{text}` is not a size; write it as in `512 KB`, `100 MB` or `2 GB`"));
        UNITS.iter().find_map(read).ok_or_else(refuse)
    }
}

/// A share in whole percent, as in `20%`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Percent(pub u8);

written_as_text!(Percent, "Percent", {
    "description": "A share in whole percent, from `0%` to `100%`.",
    "pattern": "^(100|[1-9]?[0-9])%$"
});

impl FromStr for Percent {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let number =
            text.strip_suffix('%').filter(|digits| plain_number(digits)).and_then(|digits| digits.parse().ok());
        let refuse = || ValueError::new(format!("`{text}` is not a share; write it as in `20%`, from `0%` to `100%`"));
        number.filter(|percent| *percent <= 100).map(Self).ok_or_else(refuse)
    }
}

/// How often something may happen, as in `10/second`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct PerSecond(pub u32);

written_as_text!(PerSecond, "Rate", {
    "description": "A rate, as in `10/second`.",
    "pattern": "^[1-9][0-9]{0,5}/second$"
});

impl FromStr for PerSecond {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let digits = text.strip_suffix("/second").filter(|digits| plain_number(digits) && digits.len() <= 6);
        let refuse =
            || ValueError::new(format!("`{text}` is not a rate; write it as in `10/second`, from 1 to 999999"));
        digits.and_then(|digits| digits.parse().ok()).filter(|number| *number > 0).map(Self).ok_or_else(refuse)
    }
}

/// Whether a text is a number without sign or leading zero.
pub(super) fn plain_number(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() && (text == "0" || !text.starts_with('0'))
}

/// A number from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "u32")]
#[schemars(inline, extend("minimum" = 1))]
pub struct Positive(pub u32);

impl TryFrom<u32> for Positive {
    type Error = ValueError;

    fn try_from(number: u32) -> Result<Self, ValueError> {
        if number == 0 { Err(ValueError::new("`0` is too small; use 1 or more")) } else { Ok(Self(number)) }
    }
}
