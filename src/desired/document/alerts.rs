//! `alerts`: channels, rules and how often an alert is repeated.

use schemars::JsonSchema;
use serde::Deserialize;

use super::seconds;
use crate::desired::alerts::RuleName;
use crate::desired::names::PoolName;
use crate::desired::secret::Secret;
use crate::desired::values::{
    ChatId, HttpUrl, Label, MailAddress, MailServer, Moment, Percent, Period, Positive, SecretPath,
};

/// Who is told about what.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Alerts {
    /// Where alerts go. Default: nowhere, and the status page alone shows them.
    pub channels: Vec<Channel>,
    /// What is worth an alert. Default: every rule, with its defaults.
    pub rules: Option<Rules>,
    /// How often an alert that goes on is sent again, at least `1m`. Default: `4h`.
    pub repeat_every: Period,
    /// What nobody is told for a while.
    pub silences: Vec<Silence>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self { channels: Vec::new(), rules: None, repeat_every: seconds(4 * 3600), silences: Vec::new() }
    }
}

/// What nobody is told for a while: the page and `exitpool alerts` go on to show it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Silence {
    /// The rule.
    pub rule: RuleName,
    /// What the alert is about, as `exitpool alerts` shows it. Default: whatever it is about.
    pub about: Option<String>,
    /// Until when, as in `2026-12-01T08:00:00Z`.
    pub until: Moment,
    /// Why, for those who read the file.
    pub reason: Option<String>,
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
    /// The pool through whose nodes it is reached. Default: not through Tor.
    pub via: Option<PoolName>,
    /// A file of certificates in PEM, by its absolute path, whose owners are believed instead of the public ones.
    pub ca_file: Option<SecretPath>,
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
    /// Whether a server of `smtp://` has to speak STARTTLS (`required`), or is spoken to in the clear (`off`). Default:
    /// `required`.
    #[serde(default)]
    pub tls: MailTls,
}

/// Whether a mail server of `smtp://` has to speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MailTls {
    /// It has to: without STARTTLS nothing is sent.
    #[default]
    Required,
    /// It is spoken to in the clear, and no password is sent.
    Off,
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

/// What is worth an alert; of those that are named here, an absent rule is off.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rules {
    /// Too many nodes do not serve, or the network is gone.
    pub node_failure_rate: Option<FailureRate>,
    /// The firewall could not be put in place.
    pub firewall_apply_failed: Option<Sustained>,
    /// A certificate of the listed files runs out, or cannot be read.
    pub certificate_expiry: Option<Expiry>,
    /// Somebody tries tokens.
    pub brute_force: Option<CountedFailures>,
    /// The host is not as it was left.
    pub drift: Option<LastingDrift>,
    /// The source could not be read for a while.
    pub source_stale: Option<StaleAfter>,
    /// Somebody has to do something before the reconciler can go on.
    pub revision_stalled: Option<Stalled>,
    /// A revision was rolled back, or its change of the firewall was taken back.
    pub rolled_back: Option<Sustained>,
    /// Nodes do not get another exit, twice in a row.
    pub rotation_failed: Option<Sustained>,
    /// A pool finds no exits in the countries that it wishes.
    pub exits_short: Option<LastingShortage>,
    /// The disk of the state directory is nearly full.
    pub state_directory_full: Option<Filled>,
    /// A tor runs that is another version than the installed one.
    pub tor_update_pending: Option<PendingUpdate>,
    /// A channel takes no alerts: the others are told.
    pub channel_failing: Option<FailingChannel>,
}

impl Rules {
    /// Every rule, with its defaults.
    pub fn all() -> Self {
        Self {
            node_failure_rate: Some(FailureRate::default()),
            firewall_apply_failed: Some(Sustained::default()),
            certificate_expiry: Some(Expiry::default()),
            brute_force: Some(CountedFailures::default()),
            drift: Some(LastingDrift::default()),
            source_stale: Some(StaleAfter::default()),
            revision_stalled: Some(Stalled::default()),
            rolled_back: Some(Sustained::default()),
            rotation_failed: Some(Sustained::default()),
            exits_short: Some(LastingShortage::default()),
            state_directory_full: Some(Filled::default()),
            tor_update_pending: Some(PendingUpdate::default()),
            channel_failing: Some(FailingChannel::default()),
        }
    }
}

/// A share of nodes that do not serve, and how long.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct FailureRate {
    /// The share above which an alert is raised. Default: `20%`.
    pub above: Percent,
    /// How long it has to last; nodes that have just been added do not serve at once. Default: `2m`.
    #[serde(rename = "for")]
    pub lasting: Period,
}

impl Default for FailureRate {
    fn default() -> Self {
        Self { above: Percent(20), lasting: seconds(120) }
    }
}

/// How long before the end, and of which certificates.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Expiry {
    /// How long before the end an alert is raised. Default: `30d`.
    pub within: Period,
    /// Files with certificates in PEM, by their absolute paths.
    pub files: Vec<SecretPath>,
}

impl Default for Expiry {
    fn default() -> Self {
        Self { within: seconds(30 * 24 * 3600), files: Vec::new() }
    }
}

/// How full a disk may become.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Filled {
    /// The share above which an alert is raised. Default: `90%`.
    pub above: Percent,
}

impl Default for Filled {
    fn default() -> Self {
        Self { above: Percent(90) }
    }
}

/// Makes a rule whose one setting is how long it has to last.
macro_rules! lasting {
    ($(#[$doc:meta])* $name:ident, $seconds:expr, $default:literal) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            #[doc = concat!("How long it has to last. Default: `", $default, "`.")]
            #[serde(rename = "for")]
            pub lasting: Period,
        }

        impl Default for $name {
            fn default() -> Self {
                Self { lasting: seconds($seconds) }
            }
        }
    };
}

lasting!(
    /// How long something has to last.
    Sustained, 0, "0s"
);
lasting!(
    /// How long drift has to last.
    LastingDrift, 300, "5m"
);
lasting!(
    /// How long the reconciler has to be stalled.
    Stalled, 60, "1m"
);
lasting!(
    /// How long exits have to be short.
    LastingShortage, 600, "10m"
);
lasting!(
    /// How long an update has to be pending.
    PendingUpdate, 24 * 3600, "1d"
);
lasting!(
    /// How long a channel has to fail.
    FailingChannel, 900, "15m"
);

/// How many failures in which time.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CountedFailures {
    /// How many refused tokens of one client. Default: 5.
    pub failures: Positive,
    /// In which time, up to `1h`. Default: `15m`.
    pub within: Period,
}

impl Default for CountedFailures {
    fn default() -> Self {
        Self { failures: Positive(5), within: seconds(900) }
    }
}

/// How old something may become.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StaleAfter {
    /// How long after the last success an alert is raised. Default: `15m`.
    pub after: Period,
}

impl Default for StaleAfter {
    fn default() -> Self {
        Self { after: seconds(900) }
    }
}
