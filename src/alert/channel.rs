//! The channels: how one notice reaches people. One file a way, which says what is sent, word for word.
//!
//! A channel either takes a notice or fails, within a deadline. Whether and when it is tried again is the outbox's business.

mod alertmanager;
mod email;
mod telegram;
mod webhook;

use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};

use super::Notice;
use crate::desired::alerts::{Channel, Way};
use crate::error::chain;
use crate::secret::SecretError;
use crate::web::{self, Answer, Route, Trust, WebError};

/// How long a channel may take; through Tor a circuit has to be built first.
const DEADLINE: Duration = Duration::from_secs(30);
const DEADLINE_THROUGH_TOR: Duration = Duration::from_secs(75);
/// What we call ourselves.
const AGENT: &str = concat!("exitpool/", env!("CARGO_PKG_VERSION"));
/// The user of the credentials of a channel's circuit.
pub const USER: &str = "alerts";

/// A notice on its way to a channel.
#[derive(Debug)]
pub struct Errand<'a> {
    /// The channel.
    pub channel: &'a Channel,
    /// The notice.
    pub notice: &'a Notice,
    /// How the channel is reached.
    pub route: Route,
    /// How often the notice would be repeated.
    pub repeat_every: Duration,
}

/// Why a channel did not take a notice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// Whose fault it is.
    pub fault: Fault,
    /// What went wrong, without any secret.
    pub why: String,
    /// How long the channel wants to be left alone.
    pub retry_after: Option<Duration>,
}

/// Whose fault it is that a notice was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The channel's: it would take no other one either.
    Channel,
    /// This notice's: another one may be taken.
    Notice,
}

/// Sends a notice; says what the channel answered.
pub async fn send(errand: &Errand<'_>) -> Result<String, Failure> {
    let deadline = if errand.route == Route::Direct { DEADLINE } else { DEADLINE_THROUGH_TOR };
    let sending = async {
        match &errand.channel.way {
            Way::Email(email) => email::send(email, errand).await,
            Way::Telegram { bot_token, chat_id, api_url } => {
                telegram::send(&telegram::Chat { bot_token, chat_id, api_url }, errand).await
            }
            Way::Webhook { url, secret } => webhook::send(url, secret.as_ref(), errand).await,
            Way::Alertmanager { url } => alertmanager::send(url, errand).await,
        }
    };
    let late = || Failure::of_channel(format!("no answer within {} s", deadline.as_secs()));
    tokio::time::timeout(deadline, sending).await.map_err(|_| late())?
}

impl Errand<'_> {
    /// Whose certificates are believed.
    fn trust(&self) -> Result<Trust, WebError> {
        self.channel.ca_file.as_deref().map_or_else(|| Ok(Trust::public()), Trust::of_file)
    }

    /// Posts JSON, with more headers.
    async fn post(&self, url: &str, headers: &[(&str, String)], json: Vec<u8>) -> Result<Answer, Failure> {
        let refused = |_| Failure::from(WebError::Url);
        let uri: hyper::Uri = url.parse().map_err(|_| Failure::from(WebError::Url))?;
        let host = uri.authority().map(|authority| authority.as_str().to_owned()).unwrap_or_default();
        let mut request = Request::post(uri)
            .header(HOST, host)
            .header(USER_AGENT, AGENT)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "close");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        let request = request.body(Full::new(Bytes::from(json))).map_err(refused)?;
        Ok(web::ask(&self.route, &self.trust()?, request).await?)
    }
}

/// Takes an answer of success for a notice that was taken.
fn taken(answer: &Answer) -> Result<String, Failure> {
    if answer.status.is_success() {
        return Ok(answer.status.to_string());
    }
    let said = String::from_utf8_lossy(&answer.body);
    Err(refused(answer, said.lines().next().unwrap_or_default()))
}

/// An answer that is no success, with what it says of itself.
fn refused(answer: &Answer, said: &str) -> Failure {
    /// Answers that a request gets which is wrong in itself.
    const WRONG: [u16; 3] = [400, 413, 422];
    let fault = if WRONG.contains(&answer.status.as_u16()) { Fault::Notice } else { Fault::Channel };
    let said: String = said.chars().filter(|it| !it.is_control()).take(200).collect();
    let why = format!("it was answered {}{}{said}", answer.status.as_u16(), if said.is_empty() { "" } else { ": " });
    let seconds = answer.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Failure { fault, why, retry_after: seconds.map(Duration::from_secs) }
}

impl Failure {
    /// A channel that would take no other notice either.
    pub fn of_channel(why: impl Into<String>) -> Self {
        Self { fault: Fault::Channel, why: why.into(), retry_after: None }
    }
}

impl From<WebError> for Failure {
    fn from(error: WebError) -> Self {
        Self::of_channel(chain(&error))
    }
}

impl From<SecretError> for Failure {
    fn from(error: SecretError) -> Self {
        Self::of_channel(chain(&error))
    }
}
