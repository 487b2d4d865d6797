//! `exitpool completions`: completions for shells.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Exit, output};

/// Print completions for a shell
#[derive(Debug, Args)]
pub struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut Cli::command(), "exitpool", &mut script);
    output::data(&String::from_utf8(script)?);
    Ok(Exit::Done)
}
