//! Making a backup.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{FlockOperation, flock, fsync};
use tempfile::TempDir;

use super::BackupError;
use super::container::{entry, pack};
use super::envelope::Envelope;
use super::manifest::{FORMAT, Manifest, VERSION};
use super::members::{Collected, Member, Wish, collect};
use crate::reconcile::memory::Memory;
use crate::state::{Hold, Use, refuse_newer};
use crate::sys::{dying, host};

/// What the name of a directory begins with in which a backup is being made.
const STAGING: &str = ".exitpool-backup-";
/// How the names of backups end.
const ENDS: [&str; 2] = [".tar.gz", ".tar.gz.age"];

/// Where a backup goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A file; one that is there is replaced.
    File(PathBuf),
    /// A directory, under a name with host and time; so many of this host's are kept there, or all.
    Directory(PathBuf, Option<usize>),
    /// Standard output.
    Out,
}

/// A backup that was made.
#[derive(Debug)]
pub struct Made {
    /// Where it is; `None` for standard output.
    pub path: Option<PathBuf>,
    /// What it says of itself.
    pub manifest: Manifest,
    /// Backups that were removed, since newer ones are kept.
    pub removed: Vec<PathBuf>,
}

/// Makes a backup of a state directory, beside a daemon that works with it or without one.
pub fn write(state_dir: &Path, wish: Wish, envelope: &Envelope, target: &Target) -> Result<Made, BackupError> {
    if wish.keys && envelope.is_open() {
        return Err(BackupError::KeysInTheClear);
    }
    let _hold = Hold::take(state_dir, Use::Shared)?;
    refuse_newer(state_dir)?;
    let directory = match target {
        Target::File(path) => {
            path.parent().filter(|it| !it.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
        }
        Target::Directory(path, _) => path.clone(),
        Target::Out => std::env::temp_dir(),
    };
    let staging = Staging::begin(&directory)?;
    let Collected { members, trail } = collect(state_dir, staging.path(), wish)?;
    let manifest = manifest(state_dir, &members, trail)?;
    let packed = |to: &mut dyn Write| envelope.write(to, |to| pack(to, &manifest, &members));
    let path = match target {
        Target::Out => {
            let written = packed(&mut BufWriter::new(io::stdout().lock()));
            written.map_err(|source| BackupError::Write { path: "standard output".into(), source })?;
            None
        }
        Target::File(path) => staging.put(packed, |made| fs::rename(made, path).map(|()| path.clone())).map(Some)?,
        Target::Directory(directory, _) => {
            let stem = stem(&manifest);
            let end = ENDS[usize::from(!envelope.is_open())];
            staging.put(packed, |made| put_new(made, directory, &stem, end)).map(Some)?
        }
    };
    let removed = match target {
        Target::Directory(directory, Some(keep)) => remove_older(directory, &manifest.host, *keep)?,
        _ => Vec::new(),
    };
    Ok(Made { path, manifest, removed })
}

fn manifest(state_dir: &Path, members: &[Member], trail: Option<(String, String)>) -> Result<Manifest, BackupError> {
    let (trail, trail_key) = trail.unzip();
    Ok(Manifest {
        format: FORMAT.to_owned(),
        version: VERSION,
        exitpool: env!("CARGO_PKG_VERSION").to_owned(),
        host: host::name(),
        made_at: Timestamp::now(),
        revision: Memory::new(state_dir).accepted().map(|accepted| accepted.revision.to_string()),
        trail,
        trail_key,
        members: members.iter().map(entry).collect::<Result<_, _>>()?,
    })
}

/// What the name of a backup in a directory begins with: sorted, they are in the order in which they were made.
fn stem(manifest: &Manifest) -> String {
    format!("{}{}", prefix(&manifest.host), manifest.made_at.strftime("%Y%m%dT%H%M%SZ"))
}

fn prefix(host: &str) -> String {
    format!("exitpool-{host}-")
}

/// Gives a backup the first name that nobody has.
fn put_new(made: &Path, directory: &Path, stem: &str, end: &str) -> io::Result<PathBuf> {
    for number in 1.. {
        let number = if number == 1 { String::new() } else { format!("-{number}") };
        let path = directory.join(format!("{stem}{number}{end}"));
        // A link fails where the name is taken, and is there at once.
        match fs::hard_link(made, &path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            linked => return linked.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes the oldest backups of a host, but for so many of the newest.
fn remove_older(directory: &Path, host: &str, keep: usize) -> Result<Vec<PathBuf>, BackupError> {
    let failed = |path: &Path, source| BackupError::Read { path: path.to_owned(), source };
    let prefix = prefix(host);
    let is_of_the_host = |name: &str| {
        let rest = name.strip_prefix(&prefix).and_then(|rest| ENDS.iter().find_map(|end| rest.strip_suffix(end)));
        let is_time = |byte: u8| byte.is_ascii_digit() || b"TZ-".contains(&byte);
        rest.is_some_and(|rest| rest.len() >= 16 && rest.bytes().all(is_time))
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(|source| failed(directory, source))? {
        let name = entry.map_err(|source| failed(directory, source))?.file_name();
        names.extend(name.into_string().ok().filter(|name| is_of_the_host(name)));
    }
    // `…Z.tar.gz` was made before `…Z-2.tar.gz`.
    names.sort_by_key(|name| name.split_once('Z').map(|(time, rest)| (time.to_owned(), rest.len(), rest.to_owned())));
    let old = names[..names.len().saturating_sub(keep)].iter().map(|name| directory.join(name));
    let mut removed = Vec::new();
    for path in old {
        match fs::remove_file(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(failed(&path, source)),
            Ok(()) => removed.push(path),
        }
    }
    Ok(removed)
}

/// A directory beside the backup, in which it is made. It goes with its process, or with the next backup.
struct Staging {
    directory: TempDir,
    /// Says that its process lives.
    _lock: File,
}

impl Staging {
    fn begin(within: &Path) -> Result<Self, BackupError> {
        sweep(within);
        loop {
            let begun = Self::try_begin(within);
            if let Some(staging) = begun.map_err(|source| BackupError::Write { path: within.to_owned(), source })? {
                return Ok(staging);
            }
        }
    }

    /// `None` where another backup has taken it for a leftover, in the moment before it was held.
    fn try_begin(within: &Path) -> io::Result<Option<Self>> {
        let directory = tempfile::Builder::new().prefix(STAGING).tempdir_in(within)?;
        let lock = match File::open(directory.path()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            opened => opened?,
        };
        match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
            held => held?,
        }
        Ok(directory.path().exists().then_some(Self { directory, _lock: lock }))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Writes a file, and gives it its name when it is on the disk.
    fn put(
        &self,
        packed: impl FnOnce(&mut dyn Write) -> io::Result<()>,
        name: impl FnOnce(&Path) -> io::Result<PathBuf>,
    ) -> Result<PathBuf, BackupError> {
        let made = self.path().join("backup");
        let written = || -> io::Result<PathBuf> {
            let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&made)?;
            let mut buffered = BufWriter::new(&file);
            packed(&mut buffered)?;
            buffered.flush()?;
            file.sync_all()?;
            dying::moment("backup");
            let path = name(&made)?;
            let directory = self.path().parent().unwrap_or(Path::new("."));
            fsync(File::open(directory)?)?;
            Ok(path)
        };
        written().map_err(|source| BackupError::Write { path: made.clone(), source })
    }
}

/// Removes what backups have left that were killed: nobody holds it any more.
fn sweep(within: &Path) {
    for entry in fs::read_dir(within).into_iter().flatten().flatten() {
        if !entry.file_name().to_string_lossy().starts_with(STAGING) {
            continue;
        }
        let Ok(file) = File::open(entry.path()) else { continue };
        // It is held until it is gone: whoever has just made it sees that it is another's.
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
            // One that cannot be removed is in nobody's way.
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_that_begin_at_once_leave_each_other_alone() {
        let directory = tempfile::tempdir().unwrap();
        let begin = || {
            for _ in 0..200 {
                let staging = Staging::begin(directory.path()).unwrap();
                fs::write(staging.path().join("copy"), "").unwrap();
                std::thread::yield_now();
                assert!(staging.path().join("copy").exists());
            }
        };
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(begin))));
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0, "and nothing of themselves");
    }
}
