//! A shell that stays open from block to block, as the one of somebody who reads a page and types what stands there.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// How long one block may take: far more than it needs, since a test must not depend on the machine's speed.
const PATIENCE: Duration = Duration::from_secs(90);
/// What the shell says, on a line of its own, when a block has ended; its exit code is behind it.
const END: &str = "::end ";

/// An open shell.
pub struct Session {
    shell: Child,
    stdin: ChildStdin,
    lines: Receiver<String>,
}

impl Session {
    /// Opens it: the command starts bash, wherever that is to run. What it reads first is done in it.
    pub fn open(mut command: Command, first: &str) -> Self {
        let mut shell = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (stdin, stdout) = (shell.stdin.take().unwrap(), shell.stdout.take().unwrap());
        let (say, lines) = mpsc::channel();
        thread::spawn(move || BufReader::new(stdout).lines().map_while(Result::ok).try_for_each(|line| say.send(line)));
        let mut session = Self { shell, stdin, lines };
        session.run("the beginning", &format!("exec 2>&1\n{first}"));
        session
    }

    /// Runs a block, each command of which has to succeed; gives what it has said.
    #[track_caller]
    pub fn run(&mut self, place: &str, script: &str) -> String {
        self.say(&format!(
            "set -e\neval \"$(base64 -d <<< {})\" < /dev/null\nset +e\nprintf '\\n%s\\n' '{END}0'\n",
            packed(script)
        ));
        self.hear(place, script, 0)
    }

    /// Runs a block that ends with this exit code, without a trace in the shell itself.
    #[track_caller]
    pub fn run_to(&mut self, place: &str, script: &str, code: i32) -> String {
        let script_packed = packed(script);
        self.say(&format!(
            "( set -e; eval \"$(base64 -d <<< {script_packed})\" ) < /dev/null\nprintf '\\n%s\\n' \"{END}$?\"\n"
        ));
        self.hear(place, script, code)
    }

    fn say(&mut self, text: &str) {
        self.stdin.write_all(text.as_bytes()).unwrap();
        self.stdin.flush().unwrap();
    }

    #[track_caller]
    fn hear(&mut self, place: &str, script: &str, wanted: i32) -> String {
        let end = Instant::now() + PATIENCE;
        let mut said = String::new();
        loop {
            let line = match self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => line,
                Err(RecvTimeoutError::Timeout) => panic!("{place} goes on and on:\n{script}\nit has said:\n{said}"),
                Err(RecvTimeoutError::Disconnected) => panic!("{place} has failed:\n{script}\nit has said:\n{said}"),
            };
            if let Some(code) = line.strip_prefix(END) {
                assert_eq!(code, wanted.to_string(), "{place}:\n{script}\nit has said:\n{said}");
                return said;
            }
            said += &line;
            said.push('\n');
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

fn packed(script: &str) -> String {
    STANDARD.encode(script)
}
