//! The page: an operator's questions, answered in the order in which they are asked.
//!
//! Does the host match the file? What differs, since when? Which nodes serve, and why not the others? Who may reach
//! what? What happened? It works without a script, and loads nothing from anywhere.

mod headline;
mod text;
mod view;

use std::net::IpAddr;
use std::sync::OnceLock;

use base64::Engine as _;
use hyper::header::HeaderValue;
use jiff::Timestamp;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{AutoEscape, Environment, UndefinedBehavior};
use sha2::{Digest as _, Sha256};

use super::Status;

/// The page's only style, inline in it and named by its hash.
const STYLE: &str = include_str!("page/page.css");
const TEMPLATE: &str = include_str!("page/page.html");
const NAME: &str = "page.html";

/// Whether the page loads itself again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refresh {
    /// Every few seconds.
    On,
    /// Not by itself: for reading at leisure, and for screen readers.
    Off,
}

impl Refresh {
    /// Reads the query string of a request for the page.
    pub fn asked(query: &str) -> Self {
        if query.split('&').any(|pair| pair == "refresh=off") { Self::Off } else { Self::On }
    }
}

/// Who looks at the page, when, and how.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// The address that asks.
    pub client: IpAddr,
    /// The time.
    pub now: Timestamp,
    /// Whether the page loads itself again.
    pub refresh: Refresh,
}

/// Renders the page for whoever asks.
pub fn render(status: &Status, visit: &Visit) -> Result<String, minijinja::Error> {
    environment()?.get_template(NAME)?.render(Serde(view::View::of(status, visit)))
}

/// What a browser may do with any answer of ours: apply the page's style and show its icon, and nothing else.
pub fn content_security_policy() -> HeaderValue {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    let make = || {
        let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(STYLE));
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; img-src data:; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'"
        );
        HeaderValue::try_from(policy).expect("base64 and these words are fit for a header")
    };
    POLICY.get_or_init(make).clone()
}

/// The template, parsed once.
fn environment() -> Result<&'static Environment<'static>, minijinja::Error> {
    static ENVIRONMENT: OnceLock<Environment<'static>> = OnceLock::new();
    if let Some(environment) = ENVIRONMENT.get() {
        return Ok(environment);
    }
    let mut environment = Environment::new();
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    environment.add_global("style", minijinja::Value::from_safe_string(STYLE.to_owned()));
    environment.add_template(NAME, TEMPLATE)?;
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

#[cfg(test)]
mod tests;
