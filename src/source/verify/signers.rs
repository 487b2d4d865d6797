//! Who may sign: OpenSSH's `allowed_signers` format, so that `git verify-commit` can check the same.
//!
//! An option that is not implemented here is refused with its line, and the whole file with it: an ignored option would
//! trust more than its author meant.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use ssh_key::public::KeyData;
use ssh_key::{EcdsaCurve, PublicKey};

use super::signature::NAMESPACE;

/// The keys that are trusted, with who they belong to.
#[derive(Debug, Clone)]
pub struct Signers {
    lines: Vec<Line>,
    now: Timestamp,
}

/// A line of the file.
#[derive(Debug, Clone)]
struct Line {
    number: usize,
    principals: String,
    key: KeyData,
    options: Options,
}

/// What a line says about its key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Options {
    namespaces: Option<String>,
    valid_after: Option<Timestamp>,
    valid_before: Option<Timestamp>,
}

/// Why a key is not trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// No line has it.
    #[error("no line of the allowed signers has it")]
    Unknown,
    /// Its time has not come.
    #[error("line {0} of the allowed signers trusts it only later")]
    NotYet(usize),
    /// Its time is over.
    #[error("line {0} of the allowed signers trusts it no longer; what date the commit gives itself does not count")]
    Expired(usize),
    /// It signs other things.
    #[error("line {0} of the allowed signers does not trust it for git (`namespaces=`)")]
    OtherNamespaces(usize),
}

/// Why the file of the allowed signers cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SignersError {
    /// It cannot be read.
    #[error("the allowed signers `{}` cannot be read, so nobody is trusted; check the path and who may read it", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A line of it cannot be understood.
    #[error("line {line} of the allowed signers `{}` cannot be used, so nobody is trusted: {what}", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it, and what to do.
        what: String,
    },
}

impl Signers {
    /// Reads the file; keys are judged by `now`.
    pub fn read(path: &Path, now: Timestamp) -> Result<Self, SignersError> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| SignersError::Unreadable { path: path.to_owned(), source })?;
        Self::parse(&text, now).map_err(|(line, what)| SignersError::Line { path: path.to_owned(), line, what })
    }

    /// Understands the file's text; a line that cannot be used is named with what is wrong.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, (usize, String)> {
        let mut lines = Vec::new();
        for (line, number) in text.lines().zip(1..) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                lines.push(parse_line(line, number).map_err(|what| (number, what))?);
            }
        }
        Ok(Self { lines, now })
    }

    /// Says whose key it is, as the file's principals; the first line that trusts it counts.
    pub fn principals(&self, key: &KeyData) -> Result<&str, Distrust> {
        let mut distrust = Distrust::Unknown;
        for line in self.lines.iter().filter(|line| line.key == *key) {
            match line.judge(self.now) {
                Ok(()) => return Ok(&line.principals),
                Err(reason) => distrust = reason,
            }
        }
        Err(distrust)
    }
}

impl Line {
    fn judge(&self, now: Timestamp) -> Result<(), Distrust> {
        let options = &self.options;
        if options.namespaces.as_ref().is_some_and(|list| !list.split(',').any(|name| name == NAMESPACE)) {
            return Err(Distrust::OtherNamespaces(self.number));
        }
        if options.valid_after.is_some_and(|from| now < from) {
            return Err(Distrust::NotYet(self.number));
        }
        if options.valid_before.is_some_and(|until| now >= until) {
            return Err(Distrust::Expired(self.number));
        }
        Ok(())
    }
}

fn parse_line(line: &str, number: usize) -> Result<Line, String> {
    let (principals, rest) = word(line)?;
    let rest = rest.trim_start();
    let (options, key) = if is_key_type(rest.split_whitespace().next().unwrap_or_default()) {
        (Options::default(), rest)
    } else {
        let (options, rest) = word(rest)?;
        (parse_options(options)?, rest.trim_start())
    };
    let key = PublicKey::from_openssh(key).map_err(|_| "it has no public key: `principals [options] type key`")?;
    let key = key.key_data().clone();
    if !is_supported(&key) {
        return Err(format!(
            "a key of type {} cannot be checked; use ed25519, ecdsa-p256 or an sk- key",
            key.algorithm()
        ));
    }
    Ok(Line { number, principals: principals.trim_matches('"').to_owned(), key, options })
}

/// Splits the first word off; spaces between quotation marks are part of it.
fn word(text: &str) -> Result<(&str, &str), String> {
    let mut quoted = false;
    for (at, letter) in text.char_indices() {
        match letter {
            '"' => quoted = !quoted,
            ' ' | '\t' if !quoted => return Ok(text.split_at(at)),
            _ => {}
        }
    }
    Err(if quoted { "a quotation mark is not closed" } else { "it has no public key" }.to_owned())
}

fn is_key_type(word: &str) -> bool {
    ["ssh-", "ecdsa-", "sk-"].iter().any(|prefix| word.starts_with(prefix))
}

fn is_supported(key: &KeyData) -> bool {
    let p256 = key.ecdsa().is_some_and(|key| key.curve() == EcdsaCurve::NistP256);
    p256 || key.is_ed25519() || key.is_sk_ed25519() || key.is_sk_ecdsa_p256()
}

fn parse_options(text: &str) -> Result<Options, String> {
    let mut options = Options::default();
    for option in split_options(text) {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        let value = value.trim_matches('"');
        match name.to_ascii_lowercase().as_str() {
            "namespaces" if !value.is_empty() => set(&mut options.namespaces, name, value.to_owned())?,
            "valid-after" => set(&mut options.valid_after, name, parse_time(value)?)?,
            "valid-before" => set(&mut options.valid_before, name, parse_time(value)?)?,
            "cert-authority" => return Err("certificates are not supported; list the keys themselves".to_owned()),
            _ => return Err(format!("the option `{name}` is not supported")),
        }
    }
    Ok(options)
}

fn set<T>(slot: &mut Option<T>, name: &str, value: T) -> Result<(), String> {
    match slot.replace(value) {
        Some(_) => Err(format!("the option `{name}` is given twice")),
        None => Ok(()),
    }
}

/// Splits at commas outside quotation marks.
fn split_options(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let separates = move |letter: char| {
        quoted ^= letter == '"';
        letter == ',' && !quoted
    };
    text.split(separates).collect()
}

/// `YYYYMMDD[HHMM[SS]]`, in this host's time zone, or in UTC with a `Z` behind it, as OpenSSH reads it.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    let refuse = || format!("`{text}` is not a time; write YYYYMMDD[HHMM[SS]], with a Z behind it for UTC");
    let (digits, zone) = match text.strip_suffix(['Z', 'z']) {
        Some(digits) => (digits, TimeZone::UTC),
        None => (text, TimeZone::system()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) || ![8, 12, 14].contains(&digits.len()) {
        return Err(refuse());
    }
    let padded = format!("{digits:0<14}");
    let iso = format!(
        "{}-{}-{}T{}:{}:{}",
        &padded[..4],
        &padded[4..6],
        &padded[6..8],
        &padded[8..10],
        &padded[10..12],
        &padded[12..]
    );
    let time = DateTime::from_str(&iso).map_err(|_| refuse())?;
    zone.to_timestamp(time).map_err(|_| refuse())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILM+rvN+ot98qgEN796jTiQfZfG1KaT0PtFDJ/XFSqti";
    const RSA: &str = "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAAAgQC";

    fn now() -> Timestamp {
        "2026-03-01T12:00:00Z".parse().unwrap()
    }

    fn key() -> KeyData {
        PublicKey::from_openssh(KEY).unwrap().key_data().clone()
    }

    fn judged(options: &str) -> Result<String, Distrust> {
        let signers = Signers::parse(&format!("# people\n\na@example.org {options} {KEY} laptop\n"), now()).unwrap();
        signers.principals(&key()).map(str::to_owned)
    }

    fn refusal(line: &str) -> (usize, String) {
        Signers::parse(&format!("\n{line}\n"), now()).unwrap_err()
    }

    #[test]
    fn a_key_belongs_to_its_principals() {
        assert_eq!(judged("").unwrap(), "a@example.org");
        let signers = Signers::parse(&format!("\"a@example.org,b c\" {KEY}"), now()).unwrap();
        assert_eq!(signers.principals(&key()).unwrap(), "a@example.org,b c");
        let nobody = Signers::parse("", now()).unwrap();
        assert_eq!(nobody.principals(&key()), Err(Distrust::Unknown));
    }

    #[test]
    fn options_limit_what_a_key_is_trusted_for() {
        assert!(judged("namespaces=\"file,git\",valid-before=20270101Z").is_ok());
        assert_eq!(judged("namespaces=file"), Err(Distrust::OtherNamespaces(3)));
        assert_eq!(judged("namespaces=\"git*\""), Err(Distrust::OtherNamespaces(3)));
        assert!(judged("valid-after=20260301115959Z,valid-before=\"202603011201Z\"").is_ok());
        assert_eq!(judged("valid-before=20260301Z"), Err(Distrust::Expired(3)));
        assert_eq!(judged("VALID-AFTER=20260302Z"), Err(Distrust::NotYet(3)));
        assert!(judged("valid-after=20200101").is_ok(), "the host's own time zone");
    }

    #[test]
    fn a_second_line_can_still_trust_a_key() {
        let text = format!("old valid-before=20200101Z {KEY}\nnew {KEY}\n");
        assert_eq!(Signers::parse(&text, now()).unwrap().principals(&key()), Ok("new"));
    }

    #[test]
    fn what_is_not_understood_is_refused_with_its_line() {
        for (line, words) in [
            (format!("a cert-authority {KEY}"), "certificates"),
            (format!("a no-touch-required {KEY}"), "`no-touch-required`"),
            (format!("a valid-after=2026 {KEY}"), "is not a time"),
            (format!("a valid-after=20261301 {KEY}"), "is not a time"),
            (format!("a namespaces= {KEY}"), "`namespaces`"),
            (format!("a namespaces=git,namespaces=file {KEY}"), "twice"),
            (format!("a \"namespaces=git {KEY}"), "quotation mark"),
            (KEY.to_owned(), "public key"),
            ("a".to_owned(), "public key"),
            (format!("a {RSA}"), "public key"),
        ] {
            let (number, what) = refusal(&line);
            assert_eq!(number, 2);
            assert!(what.contains(words), "{line}: {what}");
        }
    }
}
