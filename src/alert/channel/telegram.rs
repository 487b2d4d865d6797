//! Telegram's Bot API: `sendMessage`, in MarkdownV2.
//!
//! The bot's token stands in the URL, so no error of ours may show one.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Errand, Failure, Fault, refused};
use crate::alert::{Happened, Notice, Severity};
use crate::desired::secret::Secret;
use crate::secret::Revealed;

/// Telegram takes 4096 characters, counted after the marks are taken out.
const MOST_CHARACTERS: usize = 3_500;
/// What a text of MarkdownV2 has to escape.
const SPECIAL: &str = "_*[]()~`>#+-=|{}.!\\";

/// Where messages go.
pub(super) struct Chat<'a> {
    pub(super) bot_token: &'a Secret,
    pub(super) chat_id: &'a str,
    pub(super) api_url: &'a str,
}

/// The parameters of `sendMessage`.
#[derive(Debug, Serialize)]
struct Message<'a> {
    chat_id: &'a str,
    text: String,
    parse_mode: &'static str,
    link_preview_options: Preview,
}

#[derive(Debug, Serialize)]
struct Preview {
    is_disabled: bool,
}

/// What the Bot API answers.
#[derive(Debug, Default, Deserialize)]
struct Reply {
    #[serde(default)]
    ok: bool,
    #[serde(default)]
    description: String,
    #[serde(default)]
    parameters: Parameters,
}

#[derive(Debug, Default, Deserialize)]
struct Parameters {
    retry_after: Option<u64>,
}

pub(super) async fn send(chat: &Chat<'_>, errand: &Errand<'_>) -> Result<String, Failure> {
    let token = Revealed::read(chat.bot_token)?;
    let message = Message {
        chat_id: chat.chat_id,
        text: text(errand.notice),
        parse_mode: "MarkdownV2",
        link_preview_options: Preview { is_disabled: true },
    };
    let json = serde_json::to_vec(&message).map_err(|error| Failure::of_channel(error.to_string()))?;
    let url = format!("{}/bot{}/sendMessage", chat.api_url.trim_end_matches('/'), token.reveal());
    let answer = errand.post(&url, &[], json).await?;
    let reply: Reply = serde_json::from_slice(&answer.body).unwrap_or_default();
    if answer.status.is_success() && reply.ok {
        return Ok("Telegram has taken it".to_owned());
    }
    // A proxy in between may answer with the path, and the token in it.
    let said = reply.description.replace(token.reveal(), "…");
    let failure = refused(&answer, &said);
    let fault = if answer.status.is_success() { Fault::Channel } else { failure.fault };
    let retry_after = reply.parameters.retry_after.map(Duration::from_secs).or(failure.retry_after);
    Err(Failure { fault, retry_after, ..failure })
}

/// The message, in MarkdownV2.
fn text(notice: &Notice) -> String {
    let mut text = format!("{} *{}*: {}", emoji(notice), escaped(&notice.heading()), escaped(&cut(&notice.summary)));
    for detail in &notice.details {
        let line = format!("\n• {}", escaped(&cut(detail)));
        if text.chars().count() + line.chars().count() > MOST_CHARACTERS {
            text += "\n…";
            break;
        }
        text += &line;
    }
    text += "\n";
    for (name, value) in notice.fields() {
        text += &format!("\n{}: `{}`", escaped(name), code(&value));
    }
    text
}

fn cut(sentence: &str) -> String {
    /// A sentence that quotes an error may be long.
    const LONGEST: usize = 1_000;
    let short: String = sentence.chars().take(LONGEST).collect();
    if short.len() < sentence.len() { short + "…" } else { short }
}

fn emoji(notice: &Notice) -> &'static str {
    match (notice.happened, notice.severity) {
        (Happened::Resolved, _) => "✅",
        (Happened::Test, _) => "🧪",
        (_, Severity::Critical) => "🔴",
        (_, Severity::Warning) => "🟠",
        (_, Severity::Info) => "🔵",
    }
}

fn escaped(text: &str) -> String {
    let escape = |it: char| SPECIAL.contains(it).then_some('\\').into_iter().chain([it]);
    text.chars().flat_map(escape).collect()
}

/// Within code only these two are special.
fn code(text: &str) -> String {
    text.replace('\\', "\\\\").replace('`', "\\`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alert::notice::tests::notice;

    #[test]
    fn what_is_special_is_escaped_and_nothing_else_is_changed() {
        assert_eq!(escaped("a_b*c. (50 %)!"), "a\\_b\\*c\\. \\(50 %\\)\\!");
        assert_eq!(escaped("\\`~é🔴"), "\\\\\\`\\~é🔴");
        assert_eq!(code("main@sha1:0f_0f`\\"), "main@sha1:0f_0f\\`\\\\");
    }

    #[test]
    fn a_message_says_what_is_so() {
        let said = text(&notice(Happened::Raised));
        let expected = "🔴 *CRITICAL*: 5 of 10 nodes do not serve\n• eu\\-0: it can build no circuit\n\nhost: `vps-1`\n\
                        rule: `node_failure_rate`\nabout: `nodes`\nsince: `2026-03-01T12:00:00Z`\n\
                        revision: `main@sha1:0f0f`\nincident: `00ff00ff00ff00ff`";
        assert_eq!(said, expected);
        assert!(text(&notice(Happened::Resolved)).starts_with("✅ *RESOLVED*: "));
    }

    #[test]
    fn a_long_message_stays_within_what_telegram_takes() {
        let long =
            Notice { summary: "x".repeat(9_000), details: vec!["y".repeat(600); 20], ..notice(Happened::Raised) };
        assert!(text(&long).chars().count() < 4_096, "{}", text(&long).chars().count());
    }
}
