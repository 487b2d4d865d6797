//! What `alerts` means: who is told about what, how often, and by which way.

use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::document::MailTls;
use super::document::{self, Rules};
use super::names::PoolName;
use super::secret::Secret;

/// Who is told about what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alerts {
    /// Where alerts go.
    pub channels: Vec<Channel>,
    /// What is worth an alert; each rule at most once.
    pub rules: Vec<Rule>,
    /// How often an alert that goes on is sent again.
    pub repeat_every: Duration,
    /// What nobody is told for a while.
    pub silences: Vec<Silence>,
}

impl Default for Alerts {
    fn default() -> Self {
        Self::of(&document::Alerts::default())
    }
}

/// Where alerts go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// How.
    pub way: Way,
    /// The pool through whose nodes it is reached.
    pub via: Option<PoolName>,
    /// Whose certificates are believed, instead of the public ones.
    pub ca_file: Option<PathBuf>,
}

/// How an alert reaches people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// By mail.
    Email(Email),
    /// By Telegram.
    Telegram {
        /// The bot's token.
        bot_token: Secret,
        /// The chat.
        chat_id: String,
        /// Telegram's Bot API, or one of its own.
        api_url: String,
    },
    /// By a POST.
    Webhook {
        /// Where to.
        url: String,
        /// What signs the body.
        secret: Option<Secret>,
    },
    /// By Alertmanager.
    Alertmanager {
        /// Its address.
        url: String,
    },
}

/// A mailbox's way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Email {
    /// `smtps://` or `smtp://`, with the host and perhaps the port.
    pub server: String,
    /// The user's name, and where the password is read from.
    pub login: Option<(String, Secret)>,
    /// The sender.
    pub from: String,
    /// The recipients.
    pub to: Vec<String>,
    /// Whether a server of `smtp://` has to speak TLS.
    pub tls: MailTls,
}

/// Something that is worth an alert when it lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// What.
    pub criterion: Criterion,
    /// How long it has to last.
    pub lasting: Duration,
}

/// What is worth an alert.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Criterion {
    /// More than this share of the nodes does not serve.
    NodeFailureRate {
        /// In percent.
        above_percent: u8,
    },
    /// The firewall could not be put in place.
    FirewallApplyFailed,
    /// A certificate runs out.
    CertificateExpiry {
        /// So long before its end.
        within: Duration,
        /// The files beside our own.
        files: Vec<PathBuf>,
    },
    /// One client had so many tokens refused.
    BruteForce {
        /// So many.
        failures: u32,
        /// In this time.
        within: Duration,
    },
    /// The host is not as it was left.
    Drift,
    /// The source could not be read.
    SourceStale,
    /// The reconciler cannot go on without somebody.
    RevisionStalled,
    /// A revision was rolled back.
    RolledBack,
    /// Nodes do not get another exit.
    RotationFailed,
    /// A pool finds no exits.
    ExitsShort,
    /// More than this share of the state directory's disk is used.
    StateDirectoryFull {
        /// In percent.
        above_percent: u8,
    },
    /// A tor runs that is not the installed one.
    TorUpdatePending,
    /// A channel takes no alerts.
    ChannelFailing,
}

/// The name of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleName {
    /// Too many nodes do not serve.
    NodeFailureRate,
    /// The firewall could not be put in place.
    FirewallApplyFailed,
    /// A certificate runs out.
    CertificateExpiry,
    /// Somebody tries tokens.
    BruteForce,
    /// The host is not as it was left.
    Drift,
    /// The source could not be read.
    SourceStale,
    /// The reconciler cannot go on without somebody.
    RevisionStalled,
    /// A revision was rolled back.
    RolledBack,
    /// Nodes do not get another exit.
    RotationFailed,
    /// A pool finds no exits.
    ExitsShort,
    /// The disk of the state directory is nearly full.
    StateDirectoryFull,
    /// A tor runs that is not the installed one.
    TorUpdatePending,
    /// A channel takes no alerts.
    ChannelFailing,
}

/// How much an alert matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "AlertSeverity")]
pub enum Severity {
    /// Good to know.
    Info,
    /// Look when there is time.
    Warning,
    /// Look now.
    Critical,
}

impl Severity {
    /// The severity's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// What nobody is told for a while.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// The rule.
    pub rule: RuleName,
    /// What it is about; `None` means whatever.
    pub about: Option<String>,
    /// Until when.
    pub until: Timestamp,
}

/// Telegram's own Bot API.
const TELEGRAM: &str = "https://api.telegram.org";

impl Alerts {
    /// What a document says.
    pub fn of(document: &document::Alerts) -> Self {
        let everything = Rules::all();
        Self {
            channels: document.channels.iter().filter_map(channel).collect(),
            rules: rules(document.rules.as_ref().unwrap_or(&everything)),
            repeat_every: document.repeat_every.0,
            silences: document.silences.iter().map(silence).collect(),
        }
    }

    /// Whether nobody is told of something now.
    pub fn is_silenced(&self, rule: RuleName, about: &str, now: Timestamp) -> bool {
        let is_meant = |silence: &&Silence| {
            silence.rule == rule && silence.about.as_ref().is_none_or(|only| only == about) && now < silence.until
        };
        self.silences.iter().any(|silence| is_meant(&silence))
    }

    /// Finds a channel by its name.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == name)
    }

    /// Finds a rule.
    pub fn rule(&self, name: RuleName) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.criterion.name() == name)
    }
}

impl Criterion {
    /// Its rule's name.
    pub fn name(&self) -> RuleName {
        match self {
            Self::NodeFailureRate { .. } => RuleName::NodeFailureRate,
            Self::FirewallApplyFailed => RuleName::FirewallApplyFailed,
            Self::CertificateExpiry { .. } => RuleName::CertificateExpiry,
            Self::BruteForce { .. } => RuleName::BruteForce,
            Self::Drift => RuleName::Drift,
            Self::SourceStale => RuleName::SourceStale,
            Self::RevisionStalled => RuleName::RevisionStalled,
            Self::RolledBack => RuleName::RolledBack,
            Self::RotationFailed => RuleName::RotationFailed,
            Self::ExitsShort => RuleName::ExitsShort,
            Self::StateDirectoryFull { .. } => RuleName::StateDirectoryFull,
            Self::TorUpdatePending => RuleName::TorUpdatePending,
            Self::ChannelFailing => RuleName::ChannelFailing,
        }
    }
}

impl RuleName {
    /// How much an alert of it matters.
    pub fn severity(self) -> Severity {
        match self {
            Self::NodeFailureRate | Self::FirewallApplyFailed | Self::StateDirectoryFull => Severity::Critical,
            Self::RolledBack | Self::TorUpdatePending => Severity::Info,
            _ => Severity::Warning,
        }
    }

    /// The rule's word in the file.
    pub fn word(self) -> &'static str {
        match self {
            Self::NodeFailureRate => "node_failure_rate",
            Self::FirewallApplyFailed => "firewall_apply_failed",
            Self::CertificateExpiry => "certificate_expiry",
            Self::BruteForce => "brute_force",
            Self::Drift => "drift",
            Self::SourceStale => "source_stale",
            Self::RevisionStalled => "revision_stalled",
            Self::RolledBack => "rolled_back",
            Self::RotationFailed => "rotation_failed",
            Self::ExitsShort => "exits_short",
            Self::StateDirectoryFull => "state_directory_full",
            Self::TorUpdatePending => "tor_update_pending",
            Self::ChannelFailing => "channel_failing",
        }
    }
}

impl Way {
    /// The way's word in the file: also the label of its metrics.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Email(_) => "email",
            Self::Telegram { .. } => "telegram",
            Self::Webhook { .. } => "webhook",
            Self::Alertmanager { .. } => "alertmanager",
        }
    }
}

/// A channel, with its one way; a document with none or two is refused before.
fn channel(channel: &document::Channel) -> Option<Channel> {
    let email = channel.email.as_ref().map(|email| Way::Email(mailbox(email)));
    let telegram = channel.telegram.as_ref().map(|telegram| Way::Telegram {
        bot_token: telegram.bot_token.clone(),
        chat_id: telegram.chat_id.0.clone(),
        api_url: telegram.api_url.as_ref().map_or_else(|| TELEGRAM.to_owned(), |url| url.0.clone()),
    });
    let webhook = channel.webhook.as_ref();
    let webhook = webhook.map(|hook| Way::Webhook { url: hook.url.0.clone(), secret: hook.secret.clone() });
    let alertmanager = channel.alertmanager.as_ref().map(|it| Way::Alertmanager { url: it.url.0.clone() });
    Some(Channel {
        name: channel.name.0.clone(),
        way: email.or(telegram).or(webhook).or(alertmanager)?,
        via: channel.via.clone(),
        ca_file: channel.ca_file.as_ref().map(|path| path.0.clone()),
    })
}

fn mailbox(email: &document::Email) -> Email {
    Email {
        server: email.server.0.clone(),
        login: email.username.clone().zip(email.password.clone()),
        from: email.from.0.clone(),
        to: email.to.iter().map(|address| address.0.clone()).collect(),
        tls: email.tls,
    }
}

fn silence(silence: &document::Silence) -> Silence {
    Silence { rule: silence.rule, about: silence.about.clone(), until: silence.until.0 }
}

/// The rules of a document, in the order of its format.
fn rules(rules: &Rules) -> Vec<Rule> {
    let lasting = |criterion: Criterion, lasting: Duration| Rule { criterion, lasting };
    let at_once = |criterion: Criterion| lasting(criterion, Duration::ZERO);
    let all = [
        rules
            .node_failure_rate
            .as_ref()
            .map(|it| lasting(Criterion::NodeFailureRate { above_percent: it.above.0 }, it.lasting.0)),
        rules.firewall_apply_failed.as_ref().map(|it| lasting(Criterion::FirewallApplyFailed, it.lasting.0)),
        rules.certificate_expiry.as_ref().map(|it| {
            let files = it.files.iter().map(|file| file.0.clone()).collect();
            at_once(Criterion::CertificateExpiry { within: it.within.0, files })
        }),
        rules
            .brute_force
            .as_ref()
            .map(|it| at_once(Criterion::BruteForce { failures: it.failures.0, within: it.within.0 })),
        rules.drift.as_ref().map(|it| lasting(Criterion::Drift, it.lasting.0)),
        rules.source_stale.as_ref().map(|it| lasting(Criterion::SourceStale, it.after.0)),
        rules.revision_stalled.as_ref().map(|it| lasting(Criterion::RevisionStalled, it.lasting.0)),
        rules.rolled_back.as_ref().map(|it| lasting(Criterion::RolledBack, it.lasting.0)),
        rules.rotation_failed.as_ref().map(|it| lasting(Criterion::RotationFailed, it.lasting.0)),
        rules.exits_short.as_ref().map(|it| lasting(Criterion::ExitsShort, it.lasting.0)),
        rules
            .state_directory_full
            .as_ref()
            .map(|it| at_once(Criterion::StateDirectoryFull { above_percent: it.above.0 })),
        rules.tor_update_pending.as_ref().map(|it| lasting(Criterion::TorUpdatePending, it.lasting.0)),
        rules.channel_failing.as_ref().map(|it| lasting(Criterion::ChannelFailing, it.lasting.0)),
    ];
    all.into_iter().flatten().collect()
}
