//! `exitpool proxy-connect`: the way through a SOCKS5 proxy for ssh, which has none. Hidden: a fetch runs it.

use clap::Args;
use tokio::io::{copy_bidirectional, join, stdin, stdout};

use crate::source::remote::proxy::Socks;

use super::Exit;

/// Carry standard input and output to a port of a host, through the SOCKS5 proxy that ALL_PROXY names
#[derive(Debug, Args)]
pub struct Arguments {
    /// The host, by its name or address
    host: String,
    /// The port
    port: u16,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut remote = Socks::of_this_environment()?.connect(&arguments.host, arguments.port).await?;
    copy_bidirectional(&mut join(stdin(), stdout()), &mut remote).await?;
    Ok(Exit::Done)
}
