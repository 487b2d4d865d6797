//! Runs a program to its end, with one deadline, and keeps everything that it said.
//!
//! What an answer means is the caller's business: a program that ran and failed is an [`Output`] here, not an error.

use std::ffi::OsStr;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt};
use tokio::process::{Child, Command};

use crate::error::{Classify, Kind};

/// Where administrators' programs stand: a shell of an unprivileged login has these not in its PATH.
const ADMIN_PATHS: &str = "/usr/local/sbin:/usr/sbin:/sbin";

/// What a program left behind.
#[derive(Debug, Clone)]
pub struct Output {
    /// Its process id, which is another's by now.
    pub pid: Option<u32>,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: Vec<u8>,
    /// Its standard error; bytes that are not UTF-8 are replaced.
    pub stderr: String,
}

/// Why a program could not be run to its end.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It could not be started.
    #[error("cannot start {program}")]
    Start {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It was started, and talking to it failed.
    #[error("cannot talk to {program}")]
    Talk {
        /// The program.
        program: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It did not end in time, and was killed.
    #[error("{program} did not end within {} s and was killed", .deadline.as_secs_f32())]
    Deadline {
        /// The program.
        program: String,
        /// The deadline.
        deadline: Duration,
    },
}

impl Classify for CommandError {
    fn kind(&self) -> Kind {
        match self {
            Self::Start { .. } | Self::Talk { .. } => Kind::Host,
            Self::Deadline { .. } => Kind::Timeout,
        }
    }
}

/// Runs a program with `stdin` as its input, and waits for its end.
///
/// The program speaks the C locale. When the deadline passes, or the future is dropped, it is killed.
pub async fn run(program: &str, args: &[&str], stdin: &[u8], deadline: Duration) -> Result<Output, CommandError> {
    let child = Command::new(program)
        .args(args)
        .env("LC_ALL", "C")
        .env("PATH", program_path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| CommandError::Start { program: program.to_owned(), source })?;
    match tokio::time::timeout(deadline, converse(child, stdin)).await {
        Ok(ended) => ended.map_err(|source| CommandError::Talk { program: program.to_owned(), source }),
        Err(_) => Err(CommandError::Deadline { program: program.to_owned(), deadline }),
    }
}

/// Feeds and reads at the same time: a program that answers before it has read everything would block otherwise.
async fn converse(mut child: Child, stdin: &[u8]) -> io::Result<Output> {
    let (pid, pipe) = (child.id(), child.stdin.take());
    let feed = async move {
        let Some(mut pipe) = pipe else { return Ok(()) };
        match pipe.write_all(stdin).await {
            // It has read as much as it wanted; its answer says whether that was enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other,
        }
    };
    let (fed, ended) = tokio::join!(feed, child.wait_with_output());
    let ended = ended?;
    fed?;
    Ok(Output {
        pid,
        status: ended.status,
        stdout: ended.stdout,
        stderr: String::from_utf8_lossy(&ended.stderr).trim().to_owned(),
    })
}

/// The most that is kept of what a group says on one stream; the rest is read and thrown away.
const MOST_KEPT_BYTES: u64 = 64 << 10;

/// Runs a program that may start others, in a process group of its own, without input.
///
/// When the deadline passes, or the future is dropped, the whole group is killed. However much it says, little is kept.
pub async fn run_group(mut command: Command, deadline: Duration) -> Result<Output, CommandError> {
    let program = command.as_std().get_program().to_string_lossy().into_owned();
    let child = command
        .process_group(0)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|source| CommandError::Start { program: program.clone(), source })?;
    let mut group = Group::of(&child);
    match tokio::time::timeout(deadline, listen(child)).await {
        Ok(ended) => {
            // The leader is reaped: the number may soon be another group's.
            group.0 = None;
            ended.map_err(|source| CommandError::Talk { program, source })
        }
        Err(_) => Err(CommandError::Deadline { program, deadline }),
    }
}

/// A process group, killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(leader: &Child) -> Self {
        Self(leader.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            // It may be gone already.
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

async fn listen(mut child: Child) -> io::Result<Output> {
    let (pid, stdout, stderr) = (child.id(), child.stdout.take(), child.stderr.take());
    let (stdout, stderr, status) = tokio::join!(keep(stdout), keep(stderr), child.wait());
    let stderr = String::from_utf8_lossy(&stderr?).trim().to_owned();
    Ok(Output { pid, status: status?, stdout: stdout?, stderr })
}

async fn keep(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut kept = Vec::new();
    let Some(mut stream) = stream else { return Ok(kept) };
    (&mut stream).take(MOST_KEPT_BYTES).read_to_end(&mut kept).await?;
    tokio::io::copy(&mut stream, &mut tokio::io::sink()).await?;
    Ok(kept)
}

/// Runs a program that may speak with the person at the terminal, for a passphrase or the touch of a key.
///
/// It reads our standard input, and says on our standard error what it has to say. It takes as long as the person does.
/// An interrupt from the keyboard ends it and not us: its caller has something to tidy up.
pub async fn at_terminal(program: &str, args: &[&str]) -> Result<ExitStatus, CommandError> {
    let talk = |source| CommandError::Talk { program: program.to_owned(), source };
    let interrupts = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt()).map_err(talk)?;
    let started = Command::new(program)
        .args(args)
        .stdin(Stdio::inherit())
        .stdout(Stdio::from(io::stderr()))
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn();
    let mut child = started.map_err(|source| CommandError::Start { program: program.to_owned(), source })?;
    let ended = child.wait().await.map_err(talk);
    drop(interrupts);
    ended
}

/// Where programs are looked for: the inherited path, and where administrators' programs stand.
pub fn program_path() -> std::ffi::OsString {
    search_path(std::env::var_os("PATH").as_deref())
}

fn search_path(inherited: Option<&OsStr>) -> std::ffi::OsString {
    let mut path = inherited.unwrap_or(OsStr::new("/usr/bin:/bin")).to_owned();
    path.push(":");
    path.push(ADMIN_PATHS);
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn everything_a_program_says_is_kept() {
        let script = "cat; echo \"$LC_ALL\" >&2; exit 3";
        let output = run("sh", &["-c", script], b"in", LONG).await.unwrap();
        assert_eq!((output.stdout.as_slice(), output.stderr.as_str()), (b"in".as_slice(), "C"));
        assert_eq!(output.status.code(), Some(3));
    }

    #[tokio::test]
    async fn an_input_larger_than_a_pipe_is_no_deadlock() {
        let input = vec![b'x'; 1 << 20];
        let output = run("cat", &[], &input, LONG).await.unwrap();
        assert_eq!(output.stdout.len(), input.len());
        let ignored = run("true", &[], &input, LONG).await.unwrap();
        assert!(ignored.status.success());
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = run("exitpool-no-such-program", &[], b"", LONG).await.unwrap_err();
        assert!(matches!(&error, CommandError::Start { source, .. } if source.kind() == io::ErrorKind::NotFound));
        assert_eq!(error.to_string(), "cannot start exitpool-no-such-program");
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_killed() {
        let error = run("sleep", &["1000"], b"", Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, CommandError::Deadline { .. }), "{error}");
    }

    fn sh(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[tokio::test]
    async fn a_group_is_killed_with_all_its_children() {
        let directory = tempfile::tempdir().unwrap();
        let pid_file = directory.path().join("pid");
        let script = format!("sh -c 'echo $$ >{0}.new; mv {0}.new {0}; sleep 1000' & wait", pid_file.display());
        let running = tokio::spawn(run_group(sh(&script), LONG));
        while !pid_file.exists() {
            tokio::task::yield_now().await;
        }
        let pid = Pid::from_raw(std::fs::read_to_string(&pid_file).unwrap().trim().parse().unwrap()).unwrap();
        running.abort();
        assert!(running.await.unwrap_err().is_cancelled());
        let is_gone = || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        while !is_gone() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_group_that_hangs_meets_its_deadline() {
        let error = run_group(sh("sleep 1000 & wait"), Duration::from_millis(50)).await.unwrap_err();
        assert!(matches!(error, CommandError::Deadline { .. }), "{error}");
    }

    #[tokio::test]
    async fn little_is_kept_of_much() {
        let output = run_group(sh("head -c 1000000 /dev/zero; echo bad >&2; exit 4"), LONG).await.unwrap();
        assert_eq!(output.stdout.len() as u64, MOST_KEPT_BYTES);
        assert_eq!((output.stderr.as_str(), output.status.code()), ("bad", Some(4)));
    }

    #[test]
    fn administrators_programs_are_found_without_their_path() {
        let path = search_path(Some(OsStr::new("/usr/bin")));
        assert_eq!(path, "/usr/bin:/usr/local/sbin:/usr/sbin:/sbin");
    }
}
