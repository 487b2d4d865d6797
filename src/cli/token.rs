//! `exitpool token`: makes and reads the tokens that consumers download lists with. Needs no host and no daemon.

mod issue;
mod keys;
mod read;

use std::io::Read as _;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use crate::export::paseto::MAX_TOKEN_BYTES;

use super::Exit;

/// Make keys and tokens, with which consumers download the list of nodes
///
/// Keep the secret key on your own machine: the host believes public keys (`exports.trusted_keys`) and needs nothing else.
#[derive(Debug, Args)]
pub struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Keygen(keys::Keygen),
    Public(keys::Public),
    Issue(issue::Arguments),
    Inspect(read::Inspect),
    Verify(read::Verify),
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    match &arguments.verb {
        Verb::Keygen(arguments) => keys::generate(arguments),
        Verb::Public(arguments) => keys::public(arguments),
        Verb::Issue(arguments) => issue::run(arguments),
        Verb::Inspect(arguments) => read::inspect(arguments),
        Verb::Verify(arguments) => read::verify(arguments),
    }
}

/// The token of an argument: itself, or what standard input has where it is `-`.
fn given(argument: &str) -> anyhow::Result<String> {
    if argument != "-" {
        return Ok(argument.trim().to_owned());
    }
    let mut text = String::new();
    let most = u64::try_from(MAX_TOKEN_BYTES).unwrap_or(u64::MAX) + 2;
    std::io::stdin().take(most).read_to_string(&mut text).context("cannot read a token from standard input")?;
    Ok(text.trim().to_owned())
}
