//! Arguments about a Git source: how it is reached, and whose commits are believed.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::ensure;
use clap::Args;
use git2::Oid;

use crate::desired::values::Period;
use crate::source::settings::{Transport, Trust};
use crate::source::verify::Keys;

/// How a Git source is reached, and whose commits are believed.
#[derive(Debug, Clone, Args)]
pub struct GitArguments {
    /// Believe only commits that these people signed, in OpenSSH's allowed_signers format
    #[arg(long, env = "EXITPOOL_ALLOWED_SIGNERS", value_name = "FILE", help_heading = HEADING)]
    allowed_signers: Option<PathBuf>,
    /// The commit that the branch begins with, while none has been accepted on this host yet
    #[arg(long, env = "EXITPOOL_FIRST_COMMIT", value_name = "SHA", value_parser = commit, help_heading = HEADING)]
    first_commit: Option<Oid>,
    /// Believe only keys that live in a hardware token, touched for each commit
    #[arg(long, env = "EXITPOOL_REQUIRE_HARDWARE_KEYS", help_heading = HEADING)]
    require_hardware_keys: bool,
    /// How many different people have to have signed what is applied
    #[arg(long, env = "EXITPOOL_MIN_SIGNERS", default_value = "1", value_name = "N", help_heading = HEADING,
        value_parser = clap::value_parser!(u8).range(1..))]
    min_signers: u8,
    /// The deploy key, for a source that is reached by SSH
    #[arg(long, env = "EXITPOOL_IDENTITY", value_name = "FILE", help_heading = HEADING)]
    identity: Option<PathBuf>,
    /// The host keys that are believed, in OpenSSH's known_hosts format
    #[arg(long, env = "EXITPOOL_KNOWN_HOSTS", value_name = "FILE", help_heading = HEADING)]
    known_hosts: Option<PathBuf>,
    /// How often a remote source is fetched
    #[arg(long, env = "EXITPOOL_POLL_EVERY", default_value = "60s", value_name = "TIME", help_heading = HEADING)]
    poll_every: Period,
    /// How long one fetch may take altogether
    #[arg(long, env = "EXITPOOL_FETCH_TIMEOUT", default_value = "60s", value_name = "TIME", help_heading = HEADING)]
    fetch_timeout: Period,
    /// How many MiB a remote source may have
    #[arg(long, env = "EXITPOOL_FETCH_LIMIT", default_value = "256", value_name = "MIB", help_heading = HEADING,
        value_parser = clap::value_parser!(u32).range(1..))]
    fetch_limit: u32,
}

const HEADING: &str = "Git";
/// Below this, a fetch would follow the other without a pause.
const SHORTEST: Duration = Duration::from_secs(1);

impl GitArguments {
    pub(super) fn transport(&self) -> Transport {
        Transport {
            identity: self.identity.clone(),
            known_hosts: self.known_hosts.clone(),
            poll_every: self.poll_every.0.max(SHORTEST),
            timeout: self.fetch_timeout.0.max(SHORTEST),
            max_bytes: u64::from(self.fetch_limit) << 20,
        }
    }

    pub(super) fn trust(&self) -> anyhow::Result<Option<Trust>> {
        let Some(allowed_signers) = self.allowed_signers.clone() else {
            let asks = self.first_commit.is_some() || self.require_hardware_keys || self.min_signers > 1;
            ensure!(
                !asks,
                "--first-commit, --require-hardware-keys and --min-signers need --allowed-signers: \
                 without it, no signature is looked at"
            );
            return Ok(None);
        };
        Ok(Some(Trust {
            allowed_signers,
            first_commit: self.first_commit,
            keys: if self.require_hardware_keys { Keys::Hardware } else { Keys::Any },
            min_signers: usize::from(self.min_signers),
        }))
    }
}

/// All digits of a commit's id: a shortened one could mean another commit later.
pub fn commit(text: &str) -> Result<Oid, String> {
    let whole = text.len() == 40;
    Oid::from_str(text).ok().filter(|_| whole).ok_or_else(|| format!("`{text}` is not a commit's id of 40 digits"))
}
