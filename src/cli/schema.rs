//! `exitpool schema`: the JSON Schema of the desired state.

use clap::Args;

use crate::desired::schema;

use super::{Exit, output};

/// Print the JSON Schema of the desired state
#[derive(Debug, Args)]
pub struct Arguments {}

pub(super) fn run(_: &Arguments) -> anyhow::Result<Exit> {
    output::json(&schema::schema())?;
    Ok(Exit::Done)
}
