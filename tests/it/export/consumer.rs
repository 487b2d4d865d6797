//! A consumer, and the operator's machine on which tokens are made.

use std::collections::BTreeMap;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::netns::Netns;

/// What a run of `exitpool token` left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// The operator's machine, with its keys.
pub struct Desk(TempDir);

impl Desk {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// A file on it, as an argument.
    pub fn at(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Makes a key; gives the public one.
    pub fn keygen(&self, name: &str) -> String {
        token(&["keygen", "--out", &self.at(name)]).done()
    }

    /// Signs a token.
    pub fn issue(&self, key: &str, grant: &str, more: &[&str]) -> String {
        let file = self.at(key);
        let ttl: &[&str] = if more.contains(&"--ttl") { &[] } else { &["--ttl", "1h"] };
        token(&[&["issue", "--key", &file, "--grant", grant], ttl, more].concat()).done()
    }
}

/// Runs `exitpool token`.
pub fn token(arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_exitpool"));
    Ran::of(command.arg("token").args(arguments).output().unwrap())
}

impl Ran {
    pub fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Self { code: output.status.code().unwrap(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// What it printed, where it is done.
    #[track_caller]
    pub fn done(self) -> String {
        assert_eq!(self.code, 0, "{}", self.stderr);
        self.stdout.trim_end().to_owned()
    }
}

/// The same text with another letter at a place.
pub fn changed(text: &str, at: usize) -> String {
    let other = if text[at..].starts_with('A') { 'B' } else { 'A' };
    format!("{}{other}{}", &text[..at], &text[at + 1..])
}

/// The id of a token.
pub fn id(token_text: &str) -> String {
    let said = token(&["inspect", token_text, "-o", "json"]).done();
    serde_json::from_str::<serde_json::Value>(&said).unwrap()["id"].as_str().unwrap().to_owned()
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Answer {
    fn parse(text: &str) -> Self {
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.unwrap_or_else(|| panic!("no answer: {text}"));
        let headers = head.lines().filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect();
        Self { status, headers, body: body.to_owned() }
    }

    /// The reason and the detail of a refusal, which is a problem document and nothing else.
    #[track_caller]
    pub fn problem(&self) -> (String, String) {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{self:?}");
        let document: serde_json::Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!((&document["status"], &document["type"]), (&self.status.into(), &"about:blank".into()), "{self:?}");
        let text = |field: &str| document[field].as_str().unwrap().to_owned();
        (text("reason"), text("detail"))
    }

    /// The status, and the reason where it is a refusal.
    #[track_caller]
    pub fn brief(&self) -> (u16, String) {
        (self.status, if self.status < 400 { String::new() } else { self.problem().0 })
    }
}

/// Asks with curl, from within a namespace, with more arguments of it.
pub fn curl(netns: &Netns, more: &str, path: &str) -> Answer {
    let url = if path.contains("://") { path.to_owned() } else { format!("http://127.0.0.1:8080{path}") };
    let script = format!("curl --silent --show-error --include --max-time 20 --noproxy '*' {more} '{url}'");
    Answer::parse(&netns.sh(&script))
}

/// Asks for a list with a token in the header.
pub fn ask(netns: &Netns, token: &str, path: &str) -> Answer {
    curl(netns, &format!("--header 'Authorization: Bearer {token}'"), path)
}

/// The same, from an address.
pub fn ask_from(netns: &Netns, address: &str, token: &str, path: &str) -> Answer {
    let server = if address.contains(':') { "[2001:db8:77::1]" } else { "10.77.0.1" };
    let more = format!("--interface {address} --header 'Authorization: Bearer {token}'");
    curl(netns, &more, &format!("http://{server}:8080{path}"))
}
