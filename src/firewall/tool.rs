//! A program of the host that speaks to its firewall: run to its end, and never believed more than it says.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use super::FirewallError;
use crate::sys::command::{self, CommandError, Output};

/// 10,000 elements take the slowest of them a tenth of a second; this long, it hangs.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much of a complaint is kept: nft repeats the whole line that it refuses.
const MAX_STDERR_CHARS: usize = 400;
/// How the tools say that they have no rights; without them nft may go on with an empty cache, and list nothing.
///
/// A single command that is not permitted is another thing: somebody owns the table.
const FORBIDDEN: [&str; 6] = [
    "you must be root",
    "cache initialization failed: Operation not permitted",
    "Kernel error received: Operation not permitted",
    "can't open lock file",
    "You need to be root",
    "Can't open socket to ipset",
];

/// A program, and how long it may take.
#[derive(Debug, Clone)]
pub struct Tool {
    /// What it is called in messages.
    pub name: &'static str,
    /// What is started.
    pub program: String,
    /// How long it may take.
    pub deadline: Duration,
}

impl Tool {
    /// The program of that name, in the path.
    pub fn new(name: &'static str) -> Self {
        Self { name, program: name.to_owned(), deadline: DEADLINE }
    }

    /// Runs it, and gives what it wrote on its standard output.
    ///
    /// Its exit status alone does not say what its end means: see the errors.
    pub async fn run(&self, args: &[&str], stdin: &[u8]) -> Result<Vec<u8>, FirewallError> {
        self.run_as(args, stdin).await.map(|(stdout, _)| stdout)
    }

    /// The same, with the process id under which the kernel knew it.
    pub async fn run_as(&self, args: &[&str], stdin: &[u8]) -> Result<(Vec<u8>, Option<u32>), FirewallError> {
        let tool = self.name;
        let ended = command::run(&self.program, args, stdin, self.deadline).await;
        let output = ended.map_err(|error| match error {
            CommandError::Start { source, .. } => FirewallError::Missing { tool, source },
            CommandError::Talk { source, .. } => FirewallError::Talk { tool, source },
            CommandError::Deadline { deadline, .. } => FirewallError::Deadline { tool, seconds: deadline.as_secs() },
        })?;
        self.judge(&output)?;
        Ok((output.stdout, output.pid))
    }

    /// What this tool's answer is called when it is not understood.
    pub fn unreadable(&self, what: impl ToString) -> FirewallError {
        FirewallError::Unreadable { tool: self.name, what: what.to_string() }
    }

    fn judge(&self, output: &Output) -> Result<(), FirewallError> {
        let tool = self.name;
        if output.status.signal().is_some() {
            return Err(FirewallError::Crashed { tool, status: output.status });
        }
        let stderr: String = output.stderr.chars().take(MAX_STDERR_CHARS).collect();
        if FORBIDDEN.iter().any(|words| stderr.contains(words)) {
            return Err(FirewallError::Forbidden { tool, stderr: first_line(&stderr).to_owned() });
        }
        if output.status.success() { Ok(()) } else { Err(FirewallError::Refused { tool, stderr }) }
    }
}

/// The first line of a complaint.
pub fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}
