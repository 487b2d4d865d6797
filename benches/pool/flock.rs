//! Bare tors that a shell loop starts, as on a host without exitpool.
//!
//! The including module brings nothing: this file serves the bench and the tests alike.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use exitpool::cli::demo::stage::{Stage, finished, kill_pid};
use rustix::process::Signal;

/// The longest that all of them together may take.
const PATIENCE: Duration = Duration::from_secs(300);
/// How often their logs are read.
const STEP: Duration = Duration::from_millis(50);
/// What tor says once it has built its first circuit.
const DONE: &str = "Bootstrapped 100%";

/// The loop. It gives each tor a directory and the same torrc, and waits for none.
const LOOP: &str = r#"
for n in $(seq "$COUNT"); do
    mkdir -m 700 "$DIRECTORY/$n"
    sed "s|@DIRECTORY@|$DIRECTORY/$n|" "$DIRECTORY/torrc" > "$DIRECTORY/$n/torrc"
    setsid tor --defaults-torrc "$DEFAULTS" -f "$DIRECTORY/$n/torrc" > /dev/null 2>&1 < /dev/null &
done
"#;

/// Tors with a directory of their own each; they end with this value.
pub struct Flock {
    directory: tempfile::TempDir,
    count: u16,
    /// From the start of the loop until the last of them could carry a request.
    pub took: Duration,
}

impl Flock {
    /// Starts so many with this torrc.
    pub async fn start(stage: &Stage, torrc: &str, count: u16) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("torrc"), torrc).unwrap();
        let mut flock = Self { directory, count, took: Duration::ZERO };
        let begun = Instant::now();
        let mut shell = stage.network().command("sh");
        shell.args(["-euc", LOOP]).env("COUNT", count.to_string()).env("DIRECTORY", flock.directory.path());
        shell.env("DEFAULTS", stage.network().torrc_defaults()).stdin(Stdio::null());
        finished(&mut shell, "the loop").await.unwrap();
        while !flock.directories().all(|tor| is_ready(&tor)) {
            assert!(begun.elapsed() < PATIENCE, "the bare tors did not start");
            tokio::time::sleep(STEP).await;
        }
        flock.took = begun.elapsed();
        flock
    }

    /// The torrc that exitpool has written for a node, with a mark for the directories, and with a port, which a node is
    /// given later.
    pub fn torrc(stage: &Stage, node: &str) -> String {
        let [runtime, state] = [stage.runtime_dir(), stage.state_dir()].map(|root| root.join("instances").join(node));
        let text = fs::read_to_string(runtime.join("torrc")).unwrap();
        let text = text.replace(&runtime.display().to_string(), "@DIRECTORY@");
        let text = text.replace(&state.display().to_string(), "@DIRECTORY@");
        text.replace("\nSocksPort 0\n", "\nSocksPort auto\n")
    }

    fn directories(&self) -> impl Iterator<Item = PathBuf> {
        (1..=self.count).map(|number| self.directory.path().join(number.to_string()))
    }
}

impl Drop for Flock {
    fn drop(&mut self) {
        for tor in self.directories() {
            let pid = fs::read_to_string(tor.join("pid")).ok().and_then(|text| text.trim().parse().ok());
            // One that has not written it yet ends with the network's namespace.
            let _ = pid.map(|pid| kill_pid(pid, Signal::KILL));
        }
    }
}

fn is_ready(tor: &Path) -> bool {
    fs::read_to_string(tor.join("log")).is_ok_and(|log| log.contains(DONE))
}
