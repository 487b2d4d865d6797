//! The page: an operator's questions, answered in the order in which they are asked.
//!
//! Does the host match the file? What differs, since when? Which nodes serve, and why not the others? Who may reach
//! what? What happened? It works without a script, and loads nothing from anywhere; its one script only asks for the
//! page again when something has happened, and puts what is new in its place.

mod asked;
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
pub use asked::{Asked, Refresh};

/// The page's only style, inline in it and named by its hash.
const STYLE: &str = include_str!("page/page.css");
/// Its only script, likewise.
const SCRIPT: &str = include_str!("page/page.js");
const TEMPLATE: &str = include_str!("page/page.html");
const NAME: &str = "page.html";

/// Who looks at the page, when, and how.
#[derive(Debug, Clone)]
pub struct Visit {
    /// The address that asks.
    pub client: IpAddr,
    /// The time.
    pub now: Timestamp,
    /// What of the page is asked for.
    pub asked: Asked,
}

/// Says whether the host matches the file, and what belongs to that: a sentence each.
pub fn headline(status: &Status) -> Vec<String> {
    let headline = headline::of(status);
    std::iter::once(headline.sentence).chain(headline.details).collect()
}

/// Whether there is what is asked for.
pub fn has(status: &Status, asked: &Asked) -> bool {
    asked.pool.as_ref().is_none_or(|asked| status.pools.iter().any(|pool| pool.name.to_string() == *asked))
}

/// Renders the page for whoever asks.
pub fn render(status: &Status, visit: &Visit) -> Result<String, minijinja::Error> {
    environment()?.get_template(NAME)?.render(Serde(view::View::of(status, visit)))
}

/// What a browser may do with any answer of ours: apply the page's style, run its script, show its icon, and ask this
/// server again; and nothing else.
pub fn content_security_policy() -> HeaderValue {
    static POLICY: OnceLock<HeaderValue> = OnceLock::new();
    let hash = |text: &str| base64::engine::general_purpose::STANDARD.encode(Sha256::digest(text));
    let make = || {
        let policy = format!(
            "default-src 'none'; style-src 'sha256-{}'; script-src 'sha256-{}'; connect-src 'self'; img-src data:; \
             base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
            hash(STYLE),
            hash(SCRIPT),
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
    environment.add_global("script", minijinja::Value::from_safe_string(SCRIPT.to_owned()));
    environment.add_template(NAME, TEMPLATE)?;
    Ok(ENVIRONMENT.get_or_init(|| environment))
}

#[cfg(test)]
mod tests;
