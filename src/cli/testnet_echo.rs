//! `exitpool testnet-echo`: the server that a private Tor network's exits lead to. Hidden: `demo` and the tests run it.

use std::net::SocketAddr;

use clap::Args;

use crate::testnet::echo;

use super::Exit;

/// Tell callers the address they come from
#[derive(Debug, Args)]
pub struct Arguments {
    /// Where it listens
    #[arg(long)]
    listen: SocketAddr,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<Exit> {
    echo::serve(arguments.listen).await?;
    Ok(Exit::Done)
}
