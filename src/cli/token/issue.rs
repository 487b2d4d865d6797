//! `token issue`.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::Args;
use ipnet::IpNet;
use jiff::{SignedDuration, Timestamp};

use crate::desired::PoolName;
use crate::desired::names::hex;
use crate::desired::values::{Label, Peer, Period};
use crate::export::ExportFormat;
use crate::export::token::{self, Audience, Claims};
use crate::sys::random;

use super::super::{Exit, output};
use super::keys;

/// Sign a token, and print it
///
/// It may be used as the grant of that name in the host's desired state says, and no longer or further than is said here.
/// Whoever has it can use it: hand it over like a password.
#[derive(Debug, Args)]
pub struct Arguments {
    /// The secret key's file
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The grant that it uses
    #[arg(long, value_name = "NAME", value_parser = label)]
    grant: String,
    /// How long it is valid, as in `1h` or `30d`; the grant's max_ttl bounds it
    #[arg(long, value_name = "TIME", value_parser = period)]
    ttl: Duration,
    /// From when on it is valid: a time as in `2026-03-01T12:00:00Z`, or in how long as in `2h`; default: now
    #[arg(long, value_name = "TIME", value_parser = start)]
    not_before: Option<Start>,
    /// From where it may be used; can be given several times; default: from where the grant allows
    #[arg(long, value_name = "CIDR", value_parser = network)]
    bind: Vec<IpNet>,
    /// For which format; can be given several times; default: all that the grant allows
    #[arg(long, value_name = "FORMAT", value_parser = format, value_delimiter = ',')]
    format: Vec<ExportFormat>,
    /// For which pool; can be given several times; default: all that the grant allows
    #[arg(long, value_name = "POOL", value_delimiter = ',')]
    pool: Vec<PoolName>,
}

/// From when on a token is valid.
#[derive(Debug, Clone, Copy)]
enum Start {
    At(Timestamp),
    In(Duration),
}

fn label(text: &str) -> Result<String, String> {
    text.parse::<Label>().map(|label| label.0).map_err(|error| error.to_string())
}

fn period(text: &str) -> Result<Duration, String> {
    let period = text.parse::<Period>().map_err(|error| error.to_string())?.0;
    if period.is_zero() {
        Err("a token has to be valid for a while; write `1s` or more".to_owned())
    } else {
        Ok(period)
    }
}

fn start(text: &str) -> Result<Start, String> {
    let refuse =
        || format!("`{text}` is not a time; write it as in `2026-03-01T12:00:00Z`, or in how long, as in `2h`");
    let period = text.parse::<Period>().map(|period| Start::In(period.0));
    period.or_else(|_| text.parse().map(Start::At)).map_err(|_| refuse())
}

fn network(text: &str) -> Result<IpNet, String> {
    text.parse::<Peer>().map(Peer::network).map_err(|error| error.to_string())
}

fn format(text: &str) -> Result<ExportFormat, String> {
    text.parse().map_err(|error: crate::desired::values::ValueError| error.to_string())
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let key = keys::read(&arguments.key)?;
    let claims = claims(arguments, Timestamp::now())?;
    output::data(&token::issue(&key, &claims)?);
    let Claims { jti, grant, exp, .. } = &claims;
    output::talk(&format!("token {jti} for the grant {grant}, valid until {exp}"));
    Ok(Exit::Done)
}

fn claims(arguments: &Arguments, now: Timestamp) -> anyhow::Result<Claims> {
    const TOO_FAR: &str = "this is too far in the future";
    let after = |time: Timestamp, span: Duration| {
        let span = SignedDuration::try_from(span).context(TOO_FAR)?;
        time.checked_add(span).context(TOO_FAR)
    };
    // Whole seconds: what is shown of a token is then all of it.
    let now = Timestamp::from_second(now.as_second())?;
    let nbf = match arguments.not_before {
        None => now,
        Some(Start::At(time)) => time,
        Some(Start::In(span)) => after(now, span)?,
    };
    let exp = after(nbf, arguments.ttl)?;
    if exp <= now {
        bail!("this token would have expired at {exp} already");
    }
    let id = random::bytes::<16>().context("the kernel has no random bytes")?;
    Ok(Claims {
        aud: Audience::Export,
        jti: hex(&id),
        grant: arguments.grant.clone(),
        iat: now,
        nbf,
        exp,
        bind: arguments.bind.clone(),
        formats: arguments.format.clone(),
        pools: arguments.pool.clone(),
    })
}
