//! Where the files of the instances are. Pure: paths only, nothing is opened here.
//!
//! ```text
//! <runtime>/                        0700, emptied by a boot
//!   instances/
//!     eu-0/                         0700: tor refuses a control socket in a directory that others may enter
//!       torrc                       what this tor was told at its start
//!       control                     its control socket (AF_UNIX)
//!       cookie                      what proves that we may speak there
//!       pid                         for people; the process table decides
//!       log                         tor's own log since its start
//!       out                         what it wrote before its log was open
//!   locks/
//!     eu-0                          held while an instance is started or stopped
//! <state>/                          0700, survives a boot
//!   instances/
//!     eu-0/                         its DataDirectory: guards, keys, directory cache
//! ```

use std::path::{Path, PathBuf};

use crate::desired::InstanceName;

/// The directories that all instances share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Sockets, torrcs and logs; emptied by a boot.
    pub runtime_dir: PathBuf,
    /// What a restart must find again.
    pub state_dir: PathBuf,
    /// Options that every tor is given beneath its own torrc, as `--defaults-torrc`.
    pub torrc_defaults: Option<PathBuf>,
}

/// The files of one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstancePaths {
    /// Its directory beneath the runtime directory.
    pub runtime: PathBuf,
    /// Its DataDirectory beneath the state directory.
    pub state: PathBuf,
    /// Its lock file, outside of its own directories, since it is held while they are removed.
    pub lock: PathBuf,
}

impl Layout {
    /// The paths of one instance.
    pub fn instance(&self, name: &InstanceName) -> InstancePaths {
        let name = name.to_string();
        InstancePaths {
            runtime: self.runtime_root().join(&name),
            state: self.state_root().join(&name),
            lock: self.lock_root().join(&name),
        }
    }

    /// The directory of the instances' runtime directories.
    pub fn runtime_root(&self) -> PathBuf {
        self.runtime_dir.join("instances")
    }

    /// The directory of the instances' DataDirectories.
    pub fn state_root(&self) -> PathBuf {
        self.state_dir.join("instances")
    }

    /// The directory of the lock files.
    pub fn lock_root(&self) -> PathBuf {
        self.runtime_dir.join("locks")
    }

    /// Reads the instance's name from the path of its torrc, where it is one of this layout.
    pub fn instance_of_torrc(&self, torrc: &Path) -> Option<InstanceName> {
        let relative = torrc.strip_prefix(self.runtime_root()).ok()?;
        let mut parts = relative.iter();
        let name = parts.next()?.to_str()?.parse().ok()?;
        (parts.next()?.to_str() == Some("torrc") && parts.next().is_none()).then_some(name)
    }
}

impl InstancePaths {
    /// Its torrc.
    pub fn torrc(&self) -> PathBuf {
        self.runtime.join("torrc")
    }

    /// Its control socket.
    pub fn control(&self) -> PathBuf {
        self.runtime.join("control")
    }

    /// The cookie of its control socket.
    pub fn cookie(&self) -> PathBuf {
        self.runtime.join("cookie")
    }

    /// Its pid file.
    pub fn pid(&self) -> PathBuf {
        self.runtime.join("pid")
    }

    /// Its log.
    pub fn log(&self) -> PathBuf {
        self.runtime.join("log")
    }

    /// The log of before: that of the tor before it, or what was cut off its own.
    pub fn earlier_log(&self) -> PathBuf {
        self.runtime.join("log.1")
    }

    /// What it writes on its standard output and error.
    pub fn out(&self) -> PathBuf {
        self.runtime.join("out")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torrc_names_its_instance_and_nothing_else_does() {
        let layout = Layout { runtime_dir: "/run/x".into(), state_dir: "/var/x".into(), torrc_defaults: None };
        let name: InstanceName = "eu-3".parse().unwrap();
        assert_eq!(layout.instance_of_torrc(&layout.instance(&name).torrc()), Some(name));
        for other in ["/run/x/instances/eu-3", "/run/x/instances/eu-3/torrc/x", "/run/x/instances/EU/torrc", "/torrc"] {
            assert_eq!(layout.instance_of_torrc(Path::new(other)), None, "{other}");
        }
    }
}
