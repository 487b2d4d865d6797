//! `exitpool man`: manual pages, made from the arguments' own descriptions.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use clap_mangen::Man;

use crate::sys::files;

use super::{Exit, output, reference};

/// Print the manual page, or write one for each verb
///
/// `exitpool man | man -l -` shows it. What is written is for a directory `man1` of the manual.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Write exitpool.1, and a page for each verb, into this directory, which is made where it is missing
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let program = reference::program();
    match &arguments.out {
        Some(directory) => {
            files::make_directory(directory).with_context(|| format!("cannot make {}", directory.display()))?;
            clap_mangen::generate_to(program, directory)
                .with_context(|| format!("cannot write into {}", directory.display()))?;
        }
        None => {
            let mut page = Vec::new();
            Man::new(program).render(&mut page)?;
            output::data(&String::from_utf8(page)?);
        }
    }
    Ok(Exit::Done)
}
