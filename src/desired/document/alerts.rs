//! `alerts`: channels, rules and how often an alert is repeated.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::desired::secret::Secret;
use crate::desired::values::{ChatId, HttpUrl, Label, MailAddress, MailServer, Percent, Period, Positive};

/// Who is told about what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// Where alerts go.
    pub channels: Vec<Channel>,
    /// What is worth an alert.
    pub rules: Rules,
    /// How often an alert that goes on is sent again. Default: `4h`.
    pub repeat_every: Period,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { channels: Vec::new(), rules: Rules::default(), repeat_every: seconds(4 * 3600) }
    }
}

/// Where alerts go: a name, and exactly one of `email`, `telegram`, `webhook` and `alertmanager`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [
    { "required": ["email"] }, { "required": ["telegram"] }, { "required": ["webhook"] }, { "required": ["alertmanager"] }
]))]
pub struct Channel {
    /// The channel's name.
    pub name: Label,
    /// By mail.
    pub email: Option<Email>,
    /// By Telegram.
    pub telegram: Option<Telegram>,
    /// By a POST to a URL.
    pub webhook: Option<Webhook>,
    /// By Prometheus's Alertmanager.
    pub alertmanager: Option<Alertmanager>,
}

/// Alerts by mail.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Email {
    /// The server: `smtps://` for TLS from the start, `smtp://` for STARTTLS.
    pub server: MailServer,
    /// The user's name at the server. Default: no login.
    pub username: Option<String>,
    /// Where the user's password is read from.
    pub password: Option<Secret>,
    /// The sender.
    pub from: MailAddress,
    /// The recipients.
    #[schemars(length(min = 1))]
    pub to: Vec<MailAddress>,
}

/// Alerts by Telegram.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Telegram {
    /// Where the bot's token is read from.
    pub bot_token: Secret,
    /// The chat: its number, or `@name`.
    pub chat_id: ChatId,
    /// A self-hosted Bot API. Default: Telegram's own.
    pub api_url: Option<HttpUrl>,
}

/// Alerts by a POST to a URL.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// Where the alert is posted to.
    pub url: HttpUrl,
    /// Where the secret is read from that signs the body. Default: not signed.
    pub secret: Option<Secret>,
}

/// Alerts by Prometheus's Alertmanager.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Alertmanager {
    /// Its address.
    pub url: HttpUrl,
}

/// What is worth an alert; a rule that is absent is off.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Too many nodes fail.
    pub node_failure_rate: Option<FailureRate>,
    /// The firewall could not be put in place.
    pub firewall_apply_failed: Option<Nothing>,
    /// A certificate runs out.
    pub certificate_expiry: Option<Within>,
    /// Somebody tries passwords or tokens.
    pub brute_force: Option<CountedFailures>,
    /// The world is not as desired.
    pub drift: Option<Sustained>,
    /// The source could not be read for a while.
    pub source_stale: Option<StaleAfter>,
}

/// A share of nodes that fail, and how long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailureRate {
    /// The share above which an alert is raised.
    pub above: Percent,
    /// How long it has to last. Default: `0s`.
    #[serde(default = "at_once", rename = "for")]
    pub lasting: Period,
}

/// A rule without settings: `{}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

/// How long before the end.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Within {
    /// How long before the end an alert is raised.
    pub within: Period,
}

/// How many failures in which time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountedFailures {
    /// How many failures of one client.
    pub failures: Positive,
    /// In which time.
    pub within: Period,
}

/// How long something has to last.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sustained {
    /// How long it has to last. Default: `0s`.
    #[serde(default = "at_once", rename = "for")]
    pub lasting: Period,
}

/// How old something may become.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StaleAfter {
    /// How long after the last success an alert is raised.
    pub after: Period,
}

fn at_once() -> Period {
    seconds(0)
}
