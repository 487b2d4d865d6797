//! How the fuse is started: by the service manager, where one runs, so that nothing that ends the daemon's control group
//! ends it as well; and as a process of our own elsewhere.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{getegid, geteuid};
use tokio::process::{Child, Command};

use super::VERB;
use crate::firewall::helper;

/// Is there where systemd has booted the host: `sd_booted(3)`.
const BOOTED: &str = "/run/systemd/system";
/// What a unit is told of our environment: where its programs are, how it logs, and where the helper is.
const INHERITED: [&str; 3] = ["PATH", "EXITPOOL_LOG", helper::VARIABLE];

/// Which fuse.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    /// The daemon's runtime directory, in full.
    pub(super) runtime_dir: PathBuf,
    /// The trial.
    pub(super) id: u64,
}

/// Who starts it.
#[derive(Debug)]
struct Starter {
    program: PathBuf,
    pid: u32,
    uid: u32,
    gid: u32,
    environment: Vec<(&'static str, OsString)>,
}

/// Whether a service manager runs here that can start it.
pub(super) fn has_a_service_manager() -> bool {
    Path::new(BOOTED).is_dir()
}

/// Asks the service manager to start it, in a unit of its own: what is started here ends well as soon as that unit has said
/// that it burns.
pub(super) fn as_a_unit(wanted: &Wanted) -> io::Result<Child> {
    let variable = |name| Some((name, std::env::var_os(name)?));
    let starter = Starter {
        // An upgrade that has replaced the file leaves none of this name, and systemd-run says so.
        program: std::env::current_exe()?,
        pid: std::process::id(),
        uid: geteuid().as_raw(),
        gid: getegid().as_raw(),
        environment: INHERITED.into_iter().filter_map(variable).collect(),
    };
    // Where it fails it must not go on by itself, while another one is lit; and it has nothing to say to whoever waits for
    // the daemon to be ready.
    let mut command = Command::new("systemd-run");
    command
        .env_remove("NOTIFY_SOCKET")
        .args(starter.arguments(wanted))
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
}

/// Starts it as a process of ours, which leaves our session by itself.
pub(super) fn as_a_process(wanted: &Wanted) -> io::Result<Child> {
    // This program itself, also when an upgrade has replaced its file.
    let mut command = Command::new("/proc/self/exe");
    command.arg0("exitpool").args(wanted.arguments());
    // Whoever waits for the daemon to be ready does not wait for this.
    command.env_remove("NOTIFY_SOCKET").stdin(Stdio::null()).stdout(Stdio::piped()).current_dir("/").spawn()
}

impl Wanted {
    fn arguments(&self) -> [OsString; 5] {
        [
            VERB.into(),
            "--runtime-dir".into(),
            self.runtime_dir.clone().into(),
            "--id".into(),
            self.id.to_string().into(),
        ]
    }
}

impl Starter {
    /// What `systemd-run` is told.
    fn arguments(&self, wanted: &Wanted) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = ["--quiet", "--collect", "--no-ask-password"].map(Into::into).into();
        let mut say = |option: String| arguments.push(option.into());
        say(format!("--unit=exitpool-guard-trial-{}", wanted.id));
        say("--description=Takes a change of the firewall back unless it is kept".to_owned());
        // It is started once it has said so, and systemd-run waits for that.
        say("--property=Type=notify".to_owned());
        // The firewall that is guarded is that of the namespace which the daemon is in.
        say(format!("--property=NetworkNamespacePath=/proc/{}/ns/net", self.pid));
        if self.uid != 0 {
            say(format!("--property=User={}", self.uid));
            say(format!("--property=Group={}", self.gid));
            say("--property=AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW".to_owned());
        }
        for (name, value) in &self.environment {
            let mut option = OsString::from(format!("--setenv={name}="));
            option.push(value);
            arguments.push(option);
        }
        arguments.extend(["--".into(), self.program.clone().into()]);
        arguments.extend(wanted.arguments());
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(uid: u32) -> Vec<OsString> {
        let environment = vec![("PATH", "/usr/sbin:/usr/bin".into()), ("EXITPOOL_LOG", "info".into())];
        let starter = Starter { program: "/usr/bin/exitpool".into(), pid: 4711, uid, gid: uid, environment };
        starter.arguments(&Wanted { runtime_dir: "/run/exitpool".into(), id: 42 })
    }

    #[test]
    fn the_service_manager_is_told_word_by_word() {
        let expected = [
            "--quiet",
            "--collect",
            "--no-ask-password",
            "--unit=exitpool-guard-trial-42",
            "--description=Takes a change of the firewall back unless it is kept",
            "--property=Type=notify",
            "--property=NetworkNamespacePath=/proc/4711/ns/net",
            "--setenv=PATH=/usr/sbin:/usr/bin",
            "--setenv=EXITPOOL_LOG=info",
            "--",
            "/usr/bin/exitpool",
            "guard-trial",
            "--runtime-dir",
            "/run/exitpool",
            "--id",
            "42",
        ];
        assert_eq!(told(0), expected);
        // A daemon that is not root is that same user there, with the rights that it needs.
        let rights =
            ["--property=User=990", "--property=Group=990", "--property=AmbientCapabilities=CAP_NET_ADMIN CAP_NET_RAW"];
        let unprivileged = told(990);
        assert_eq!(unprivileged[7..10], rights);
        assert_eq!([&unprivileged[..7], &unprivileged[10..]].concat(), expected);
    }
}
