//! A Debian of its own for a test: an overlay over `target/debian-root`, entered with `run`, or booted with `boot`.
//!
//! ```ignore
//! let Some(root) = Root::overlay("inst") else { return };
//! root.copy_in(Path::new(env!("CARGO_BIN_EXE_exitpool")), "/usr/bin/exitpool");
//! let before = root.files();
//! root.run(["exitpool", "--version"]).ok();
//! let Some(machine) = root.boot() else { return };
//! machine.run(["systemctl", "status"]).ok();
//! drop(machine); // powered off; what it wrote is in the root
//! assert_eq!(differences(&before, &root.files()), ["+ /etc/…"]);
//! ```
//!
//! What is written lives in memory, in a mount namespace of the root's own, together with all of its processes: they are gone
//! with this value, and with the test's process, however that ends. Nothing in there reaches a network or the host's firewall:
//! there is a loopback alone, or what `overlay_in` names. `scripts/debian-root.sh` makes the Debian; it is of the host's release, so that the program
//! under test runs in it.

mod machine;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

pub use self::machine::Machine;
use crate::support::{is_installed, skip};

/// Mounts the overlay `$1/merged` over the Debian in `$2`, makes the control group `$3`, and stays until its end of file.
const KEEPER: &str = r#"
set -eu
mount -t tmpfs -o size=4g,mode=755 exitpool-test "$1"
mkdir "$1/upper" "$1/work" "$1/merged"
mount -t overlay -o "lowerdir=$2,upperdir=$1/upper,workdir=$1/work" overlay "$1/merged"
mount -t proc proc "$1/merged/proc"
mount -t sysfs sysfs "$1/merged/sys"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$1/merged/dev/pts"
mount -t tmpfs -o mode=755 tmpfs /run   # what systemd-nspawn notes down is not the host's
umount -R /sys/fs/cgroup || :           # version 2 alone, as Debian boots it
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir "/sys/fs/cgroup/$3"
echo 0 > "/sys/fs/cgroup/$3/cgroup.procs"
ip link set lo up
exec unshare --cgroup sh -euc '
    umount /sys/fs/cgroup
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    echo there
    exec cat'
"#;

/// Removes the control group `$1`, and those below it.
const SWEEPER: &str = r#"
umount -R /sys/fs/cgroup
mount -t cgroup2 cgroup2 /sys/fs/cgroup
for _ in 1 2 3 4 5 6 7 8 9 10; do
    find "/sys/fs/cgroup/$1" -depth -type d -exec rmdir {} + && exit
    sleep 0.1
done
"#;

/// Who is where: kind, mode, owner and size of everything that is kept on disk, a tab before its name.
const LISTING: &str = r#"
places() { find / \( -path /proc -o -path /sys -o -path /dev -o -path /run -o -path /tmp \) -prune -o "$@"; }
places -type f -printf '%y %m %u:%g %s\t%p\n' -o -type l -printf '%y %u:%g -> %l\t%p\n' -o -printf '%y %m %u:%g\t%p\n'
echo
places -type f -print0 | xargs -0 openssl dgst -sha256 -r   # several times as fast as sha256sum
"#;

/// How long a program may take, in seconds.
const PATIENCE: &str = "300";
/// What programs find in their environment, beside their words.
const ENVIRONMENT: [&str; 4] =
    ["HOME=/root", "LANG=C.UTF-8", "TERM=dumb", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"];

/// What a program has said, and how it has ended.
#[derive(Debug)]
pub struct Ran {
    /// `None` where a signal has ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    /// What it has written to standard output, where it has succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.code, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    fn of(output: Output) -> Self {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Self { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }
}

/// Everything that a root has on disk, by path: `kind mode owner size digest`, or where a link leads.
pub type Files = BTreeMap<String, String>;

/// What differs between two listings, one line each: `+ path`, `- path`, or `~ path: before, after`.
pub fn differences(before: &Files, after: &Files) -> Vec<String> {
    let gone = before.keys().filter(|path| !after.contains_key(*path)).map(|path| format!("- {path}"));
    let now = after.iter().filter_map(|(path, is)| match before.get(path) {
        None => Some(format!("+ {path}")),
        Some(was) if was != is => Some(format!("~ {path}: {was}, {is}")),
        Some(_) => None,
    });
    gone.chain(now).collect()
}

/// A Debian that is written to without being changed.
pub struct Root {
    place: TempDir,
    group: String,
    keeper: Child,
    /// The keeper ends at its end of file, and with it every process in the root.
    alive: Option<ChildStdin>,
    /// Its process in the root's namespaces, as the host numbers it.
    first: u32,
}

impl Root {
    /// Lays an overlay over the Debian; `None`, with the reason on standard error, where that is not possible. The prefix
    /// names the room of the test.
    pub fn overlay(prefix: &str) -> Option<Self> {
        Self::over(prefix, &["unshare", "--net"])
    }

    /// The same in a network namespace that has a name already, with all that this reaches.
    pub fn overlay_in(prefix: &str, namespace: &str) -> Option<Self> {
        Self::over(prefix, &["nsenter", &format!("--net=/run/netns/{namespace}")])
    }

    /// `network` enters a network namespace, and runs what comes behind it there.
    fn over(prefix: &str, network: &[&str]) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !rustix::process::geteuid().is_root() {
            skip("an overlay over a Debian needs root");
            return None;
        }
        if let Some(missing) = ["unshare", "nsenter", "ip", "timeout"].into_iter().find(|tool| !is_installed(tool)) {
            skip(&format!("{missing} is not installed"));
            return None;
        }
        let Ok(debian) = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debian-root").canonicalize() else {
            skip("there is no target/debian-root: run scripts/debian-root.sh");
            return None;
        };
        let group = format!("exitpool-{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let place = tempfile::Builder::new().prefix(&group).tempdir().unwrap();
        let root = Self::keep(place, &debian, group, network);
        if root.is_none() {
            skip("this host lets nobody mount an overlay in a namespace");
        }
        root
    }

    fn keep(place: TempDir, debian: &Path, group: String, network: &[&str]) -> Option<Self> {
        let mut keeper = Command::new(network[0])
            .args(&network[1..])
            .args([
                "unshare",
                "--mount",
                "--propagation",
                "private",
                "--ipc",
                "--uts",
                "--pid",
                "--fork",
                "--kill-child",
            ])
            .args(["--mount-proc", "sh", "-c", KEEPER, "keeper"])
            .args([place.path(), debian])
            .arg(&group)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .ok()?;
        let alive = keeper.stdin.take()?;
        let mut line = String::new();
        BufReader::new(keeper.stdout.take()?).read_line(&mut line).ok()?;
        if line != "there\n" {
            let _ = keeper.wait();
            return None;
        }
        let first = *children(keeper.id()).first()?;
        Some(Self { place, group, keeper, alive: Some(alive), first })
    }

    /// A program that is to be run in the root, in namespaces that it shares with all others there. It gets nothing of the
    /// test's environment, and ends after five minutes.
    pub fn command<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Command {
        let mut command = self.enter();
        command.arg("chroot").arg(self.place.path().join("merged")).args(in_a_plain_environment()).args(words);
        command
    }

    /// Runs a program in the root, to its end.
    pub fn run<S: AsRef<std::ffi::OsStr>>(&self, words: impl IntoIterator<Item = S>) -> Ran {
        Ran::of(self.command(words).stdin(Stdio::null()).output().unwrap())
    }

    /// Runs a line of shell in the root.
    pub fn sh(&self, line: &str) -> Ran {
        self.run(["sh", "-euc", line])
    }

    /// Copies a file, or all that is in a directory, to a path of the root. Modes are kept; root owns it.
    #[track_caller]
    pub fn copy_in(&self, from: &Path, to: &str) {
        let into = |target: &str, rename: String, what: &Path| {
            let mut packing = Command::new("tar")
                .args(["-c", "--owner=root:0", "--group=root:0", &rename, "-C"])
                .arg(if from.is_dir() { from } else { from.parent().unwrap() })
                .arg(what)
                .stdout(Stdio::piped())
                .spawn()
                .unwrap();
            self.run(["mkdir", "-p", target]).ok();
            let packed = Stdio::from(packing.stdout.take().unwrap());
            let unpacked = self.command(["tar", "-x", "-p", "-C", target]).stdin(packed).output().unwrap();
            Ran::of(unpacked).ok();
            assert!(packing.wait().unwrap().success(), "{}", from.display());
        };
        let to_path = Path::new(to);
        if from.is_dir() {
            into(to, "--transform=s,^,,".to_owned(), Path::new("."));
        } else {
            let name = to_path.file_name().unwrap().to_string_lossy();
            let folder = to_path.parent().unwrap().display().to_string();
            into(&folder, format!("--transform=s,.*,{name},"), Path::new(from.file_name().unwrap()));
        }
    }

    /// Writes a file of the root, with the directories on the way to it.
    #[track_caller]
    pub fn write(&self, path: &str, text: &str) {
        let mut writing = self
            .command(["sh", "-euc", r#"mkdir -p "${1%/*}"; cat > "$1""#, "write", path])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        writing.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        assert!(writing.wait().unwrap().success(), "{path}");
    }

    /// Everything that the root has on disk: not what is in `/proc`, `/sys`, `/dev`, `/run` and `/tmp`.
    #[track_caller]
    pub fn files(&self) -> Files {
        let listing = self.sh(LISTING).ok();
        let (places, digests) = listing.split_once("\n\n").unwrap();
        let mut files: Files = places
            .lines()
            .map(|line| line.split_once('\t').unwrap())
            .map(|(what, path)| (path.to_owned(), what.to_owned()))
            .collect();
        for (digest, path) in digests.lines().filter_map(|line| line.split_once(" *")) {
            if let Some(what) = files.get_mut(path) {
                what.push(' ');
                what.push_str(digest);
            }
        }
        files
    }

    /// Boots the root with its systemd, and waits until that has started everything; `None`, with the reason on standard
    /// error, where there is no systemd-nspawn.
    #[track_caller]
    pub fn boot(&self) -> Option<Machine<'_>> {
        if !is_installed("systemd-nspawn") {
            skip("systemd-nspawn is not installed");
            return None;
        }
        Some(Machine::boot(self))
    }

    /// A command in the root's namespaces, and still outside of its file system.
    fn enter(&self) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.first.to_string()]);
        command.args(["--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup", "--"]);
        command
    }

    /// A place for what is to be seen when something fails.
    fn console(&self) -> PathBuf {
        self.place.path().join("console")
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        drop(self.alive.take());
        let _ = self.keeper.wait();
        let sweeping = ["--mount", "--propagation", "private", "sh", "-c", SWEEPER, "sweeper", &self.group];
        let _ = Command::new("unshare").args(sweeping).output();
    }
}

/// Runs what follows with a known environment and a deadline.
fn in_a_plain_environment() -> impl Iterator<Item = &'static str> {
    let deadline = ["timeout", "--kill-after=5", PATIENCE];
    ["env", "-i"].into_iter().chain(ENVIRONMENT).chain(deadline)
}

/// The processes that one has started and that have not ended, the oldest first.
fn children(pid: u32) -> Vec<u32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

#[test]
fn what_is_done_in_a_root_stays_in_it_and_goes_with_it() {
    let Some(root) = Root::overlay("roots") else { return };
    let before = root.files();
    root.copy_in(Path::new(env!("CARGO_BIN_EXE_exitpool")), "/usr/bin/exitpool");
    root.copy_in(&Path::new(env!("CARGO_MANIFEST_DIR")).join("desired-state"), "/srv/pool");
    root.write("/etc/exitpool/note", "here\n");
    assert!(root.run(["exitpool", "--version"]).ok().starts_with("exitpool "));
    assert_eq!(root.sh("echo said >&2; exit 3").code, Some(3));
    root.sh("chmod 600 /etc/fstab; rm /etc/motd").ok();

    let said = differences(&before, &root.files());
    let has = |start: &str| said.iter().any(|line| line.starts_with(start));
    let expected = ["+ /usr/bin/exitpool", "+ /etc/exitpool", "+ /srv/pool", "~ /etc/fstab: f 644 ", "- /etc/motd"];
    assert!(expected.into_iter().all(has), "{said:?}");
    assert!(said.iter().all(|line| expected.into_iter().any(|start| line.starts_with(start))), "{said:?}");
    assert!(root.files()["/etc/exitpool/note"].starts_with("f 644 root:root 5 "));

    let Some(mut machine) = root.boot() else { return };
    let boot = "cat /proc/sys/kernel/random/boot_id";
    let first = machine.sh(boot).ok();
    machine.reboot();
    assert_ne!(machine.sh(boot).ok(), first);
    machine.sh("touch /etc/from-the-machine").ok();
    drop(machine);
    assert!(root.files().contains_key("/etc/from-the-machine"));

    let (place, first) = (root.place.path().to_owned(), root.first);
    drop(root);
    assert!(!place.exists() && !Path::new(&format!("/proc/{first}")).exists());
    assert!(!Path::new(env!("CARGO_MANIFEST_DIR")).join("target/debian-root/etc/from-the-machine").exists());
}
