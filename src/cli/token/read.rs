//! `token inspect` and `token verify`.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, bail};
use clap::Args;
use jiff::Timestamp;

use crate::export::judge;
use crate::export::key::PublicKey;
use crate::export::token::{self, Claims};

use super::super::arguments::{Format, Output};
use super::super::documents::TokenDocument;
use super::super::{Exit, Told, output};
use super::given;
use crate::error::Kind;

/// Show what a token says, without believing any of it
///
/// This is how to find the id by which it is revoked (`exports.revoked`).
#[derive(Debug, Args)]
pub struct Inspect {
    /// The token; `-` reads it from standard input
    #[arg(value_name = "TOKEN")]
    token: String,
    #[command(flatten)]
    output: Output,
}

/// Check that a trusted key has signed a token, and that it is valid now
///
/// Exits with 0 if so, and with 1 if not. Whether its grant exists, what the grant allows and what is revoked stands in
/// the host's desired state, which is not looked at.
#[derive(Debug, Args)]
pub struct Verify {
    /// The token; `-` reads it from standard input
    #[arg(value_name = "TOKEN")]
    token: String,
    /// A public key that is trusted, or the file that has it; can be given several times
    #[arg(long, value_name = "KEY|FILE", required = true)]
    public: Vec<String>,
    #[command(flatten)]
    output: Output,
}

pub(super) fn inspect(arguments: &Inspect) -> anyhow::Result<Exit> {
    let (claims, kid) = token::inspect(&given(&arguments.token)?).context("cannot read it")?;
    print(&arguments.output, &claims, &kid)?;
    output::talk("nobody has checked this: `exitpool token verify` does");
    Ok(Exit::Done)
}

pub(super) fn verify(arguments: &Verify) -> anyhow::Result<Exit> {
    let keys: Vec<PublicKey> = arguments.public.iter().map(|key| public_key(key)).collect::<Result<_, _>>()?;
    let given = given(&arguments.token)?;
    let claims = token::verify(&given, &keys).context("none of these keys has signed it")?;
    let (_, kid) = token::inspect(&given)?;
    print(&arguments.output, &claims, &kid)?;
    if let Err(refusal) = judge::is_valid_at(&claims, Timestamp::now()) {
        bail!("{refusal}");
    }
    output::talk("signed by a trusted key, and valid now");
    Ok(Exit::Done)
}

/// A key as it is written, or what stands in a file.
fn public_key(argument: &str) -> anyhow::Result<PublicKey> {
    let text = if argument.starts_with("ed25519:") {
        argument.to_owned()
    } else {
        fs::read_to_string(Path::new(argument)).with_context(|| format!("cannot read the public key {argument}"))?
    };
    let usage = |error| Told { kind: Kind::Usage, message: format!("cannot use --public: {error}") };
    Ok(text.trim().parse::<PublicKey>().map_err(usage)?)
}

fn print(output: &Output, claims: &Claims, kid: &str) -> anyhow::Result<()> {
    let document = TokenDocument::of(claims, kid);
    match output.output {
        Format::Json => output::json(&document)?,
        Format::Text => output::data(&text(&document)),
    }
    Ok(())
}

fn text(document: &TokenDocument) -> String {
    let TokenDocument { id, grant, key, issued_at, not_before, expires_at, bind, formats, pools } = document;
    let or = |list: &[String], all: &str| if list.is_empty() { all.to_owned() } else { list.join(", ") };
    let rows = [
        ("id", id.clone()),
        ("grant", grant.clone()),
        ("key", key.clone()),
        ("issued", issued_at.clone()),
        ("valid from", not_before.clone()),
        ("valid until", expires_at.clone()),
        ("from", or(bind, "wherever the grant allows")),
        ("formats", or(formats, "all that the grant allows")),
        ("pools", or(pools, "all that the grant allows")),
    ];
    let lines: Vec<String> = rows.iter().map(|(name, value)| format!("{name:<12} {value}")).collect();
    lines.join("\n")
}
