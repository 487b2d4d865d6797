//! The relays as processes: their keys, their start, their logs, a reload.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};

use super::Error;
use super::config::{AuthorityLine, RelayTorrc};
use super::layout::{DIR_PORT, Member, OR_PORT};
use super::programs::{Programs, run};

/// How many lines of a log an error shows.
const LOG_LINES: usize = 12;
/// How many months the authorities' certificates are good for.
const CERTIFICATE_MONTHS: &str = "12";
/// From which size on glibc maps memory by itself; setting its usual value keeps it from growing.
const MMAP_THRESHOLD_BYTES: &str = "131072";

/// A relay that was started.
#[derive(Debug)]
pub struct Relay {
    /// Which one.
    pub member: Member,
    /// Its data directory.
    pub data: PathBuf,
    child: Child,
}

/// Makes an authority's keys, and tells everybody's line about it.
pub async fn forge(programs: &Programs, directory: &Path, member: &Member) -> Result<AuthorityLine, Error> {
    let data = directory.join(&member.nickname);
    let keys = data.join("keys");
    DirBuilder::new().recursive(true).mode(0o700).create(&keys).map_err(Error::file("make", &keys))?;
    let mut gencert = Command::new(&programs.tor_gencert);
    gencert.current_dir(&keys).args(["--create-identity-key", "-m", CERTIFICATE_MONTHS]);
    gencert.args(["-a", &format!("{}:{DIR_PORT}", member.address)]);
    // tor-gencert insists on a passphrase for the identity key, which nobody will need again.
    run(gencert.args(["--passphrase-fd", "0"]), "unused\n").await?;
    let mut list = Command::new(&programs.tor);
    let empty = empty_torrc(directory)?;
    list.args(["--quiet", "--defaults-torrc"]).arg(&empty).arg("-f").arg(&empty).arg("--DataDirectory").arg(&data);
    list.args(["--Nickname", &member.nickname, "--ORPort", &OR_PORT.to_string(), "--SocksPort", "0"]);
    run(list.arg("--list-fingerprint"), "").await?;
    Ok(AuthorityLine {
        nickname: member.nickname.clone(),
        address: member.address,
        vote_identity: second_word(&keys.join("authority_certificate"), "fingerprint")?,
        fingerprint: fingerprint(&data, &member.nickname)?,
    })
}

/// Reads the identity that a relay has written into its data directory.
pub fn fingerprint(data: &Path, nickname: &str) -> Result<String, Error> {
    second_word(&data.join("fingerprint"), nickname)
}

/// Reads the word after the one that a line starts with.
fn second_word(path: &Path, first: &str) -> Result<String, Error> {
    let text = fs::read_to_string(path).map_err(Error::file("read", path))?;
    let word = text.lines().filter_map(|line| line.split_once(' ')).find(|(word, _)| *word == first);
    match word {
        Some((_, word)) => Ok(word.trim().to_owned()),
        None => Err(Error::Unreadable { what: path.display().to_string(), text }),
    }
}

impl Relay {
    /// Starts a relay by its torrc.
    pub fn start(programs: &Programs, namespace: &str, directory: &Path, member: &Member) -> Result<Self, Error> {
        let data = directory.join(&member.nickname);
        DirBuilder::new().recursive(true).mode(0o700).create(&data).map_err(Error::file("make", &data))?;
        let path = log_path(directory, &member.nickname);
        let log = File::create(&path).map_err(Error::file("write", &path))?;
        let same = log.try_clone().map_err(Error::file("write", &path))?;
        let mut command = programs.inside(namespace, &programs.tor);
        command.arg("--defaults-torrc").arg(empty_torrc(directory)?);
        command.arg("-f").arg(torrc_path(directory, &member.nickname));
        command.stdin(Stdio::null()).stdout(log).stderr(same).kill_on_drop(true);
        // Compressing a consensus takes 60 MB for a moment; glibc gives them back only if they are mapped by themselves.
        command.env("MALLOC_MMAP_THRESHOLD_", MMAP_THRESHOLD_BYTES);
        // Ctrl-C on a terminal is meant for who started the network; it removes the network in its own time.
        command.process_group(0);
        let child =
            command.spawn().map_err(|source| Error::Run { command: "ip netns exec … tor".to_owned(), source })?;
        Ok(Self { member: member.clone(), data, child })
    }

    /// Has the relay read its torrc again, which also starts the downloads at once that it had put off.
    pub fn reload(&self) -> io::Result<()> {
        let pid = self.child.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
        pid.map_or(Ok(()), |pid| kill_process(pid, Signal::HUP).map_err(Into::into))
    }

    /// Whether the process has ended.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Ends the process at once, as a relay does whose host loses power.
    pub async fn kill(&mut self) {
        // The only error is that it has ended already.
        let _ = self.child.kill().await;
    }

    /// Forgets the directory, of which nothing is fetched anew as long as it is fresh; the process has ended.
    pub fn forget_directory(&self) -> Result<(), Error> {
        for entry in fs::read_dir(&self.data).map_err(Error::file("read", &self.data))? {
            let entry = entry.map_err(Error::file("read", &self.data))?;
            if entry.file_name().to_string_lossy().starts_with("cached-") {
                fs::remove_file(entry.path()).map_err(Error::file("remove", entry.path()))?;
            }
        }
        Ok(())
    }

    /// Waits until the process has ended.
    pub async fn ended(&mut self) {
        // The only error is that somebody else has waited for it already.
        let _ = self.child.wait().await;
    }
}

/// Has an authority leave a relay out of its votes, from its next reload on.
pub fn reject(authority: &Relay, fingerprint: &str) -> Result<(), Error> {
    let path = authority.data.join("approved-routers");
    fs::write(&path, format!("!reject {fingerprint}\n")).map_err(Error::file("write", path))
}

/// Writes a relay's torrc to where [`Relay::start`] expects it.
pub fn write_torrc(torrc: &RelayTorrc<'_>) -> Result<(), Error> {
    let path = torrc_path(torrc.directory, &torrc.member.nickname);
    fs::write(&path, torrc.render()).map_err(Error::file("write", path))
}

/// Writes a torrc without options: it keeps the host's defaults out, and tor does not take `/dev/null` for a torrc.
fn empty_torrc(directory: &Path) -> Result<PathBuf, Error> {
    let path = directory.join("empty.torrc");
    fs::write(&path, "").map_err(Error::file("write", &path))?;
    Ok(path)
}

/// Where a relay's torrc is.
fn torrc_path(directory: &Path, nickname: &str) -> PathBuf {
    directory.join(format!("{nickname}.torrc"))
}

/// Where a relay's log is.
fn log_path(directory: &Path, nickname: &str) -> PathBuf {
    directory.join(format!("{nickname}.log"))
}

/// Reads the end of a log, indented.
pub fn log_tail(directory: &Path, nickname: &str) -> String {
    let bytes = fs::read(log_path(directory, nickname)).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<_> = text.lines().collect();
    let tail = &lines[lines.len().saturating_sub(LOG_LINES)..];
    tail.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_log_is_shown_and_a_missing_one_is_empty() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(log_tail(directory.path(), "de1"), "");
        let text: String = (1..=20).map(|line| format!("line {line}\n")).collect();
        fs::write(log_path(directory.path(), "de1"), text).unwrap();
        let tail = log_tail(directory.path(), "de1");
        assert_eq!(tail.lines().count(), LOG_LINES);
        assert!(tail.starts_with("  line 9\n") && tail.ends_with("  line 20"), "{tail}");
    }

    #[test]
    fn an_identity_is_read_and_its_absence_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("fingerprint"), "de1 0123ABCD\n").unwrap();
        assert_eq!(fingerprint(directory.path(), "de1").unwrap(), "0123ABCD");
        assert!(matches!(fingerprint(directory.path(), "de2"), Err(Error::Unreadable { .. })));
    }
}
