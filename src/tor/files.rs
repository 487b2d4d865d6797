//! The directories, files and locks of the instances.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{FlockOperation, flock};

use super::layout::{InstancePaths, Layout};
use super::{InstanceName, TorError};
use crate::sys::files;

/// The mode of every directory of ours: tor refuses a control socket where others may enter.
const PRIVATE: u32 = 0o700;

/// How long a log becomes before it is cut; what is cut off is kept once.
const MAX_LOG_BYTES: u64 = 1 << 20;

/// How many warnings an error repeats.
const WARNINGS_IN_ERRORS: usize = 5;

/// A lock of an instance, held until it is dropped or its process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Makes an error of a file.
pub fn file_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> TorError {
    let path = path.display().to_string();
    move |source| TorError::File { action, path, source }
}

/// Makes the directories of an instance, and refuses those that are not ours alone.
pub fn prepare(layout: &Layout, paths: &InstancePaths) -> Result<(), TorError> {
    prepare_roots(layout)?;
    [&paths.runtime, &paths.state].into_iter().try_for_each(|path| private_directory(path))
}

/// Makes the directories that all instances share.
fn prepare_roots(layout: &Layout) -> Result<(), TorError> {
    for root in [layout.runtime_root(), layout.state_root(), layout.lock_root()] {
        if let Some(above) = root.parent() {
            let mut builder = DirBuilder::new();
            builder.recursive(true).mode(PRIVATE).create(above).map_err(file_error("create directory", above))?;
        }
        private_directory(&root)?;
    }
    Ok(())
}

/// Makes a directory, or checks that it is one, is ours and is closed to others.
fn private_directory(path: &Path) -> Result<(), TorError> {
    match DirBuilder::new().mode(PRIVATE).create(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        Err(error) => return Err(file_error("create directory", path)(error)),
    }
    let found = fs::symlink_metadata(path).map_err(file_error("look at directory", path))?;
    let us = rustix::process::geteuid().as_raw();
    let wrong = if !found.is_dir() {
        "it is not a directory: remove it".to_owned()
    } else if found.uid() != us {
        format!("it belongs to user {} and this is user {us}: remove it, or change its owner", found.uid())
    } else if found.mode() & 0o077 != 0 {
        format!("others may enter it (mode {:03o}): chmod it to 700", found.mode() & 0o777)
    } else {
        return Ok(());
    };
    Err(file_error("use directory", path)(io::Error::new(io::ErrorKind::PermissionDenied, wrong)))
}

/// Writes a file so that a reader sees the old or the new content, never a part.
pub fn write_atomically(path: &Path, content: &str) -> Result<(), TorError> {
    let directory = path.parent().unwrap_or(Path::new("."));
    let write = || {
        let mut file = tempfile::Builder::new().permissions(Permissions::from_mode(0o600)).tempfile_in(directory)?;
        file.write_all(content.as_bytes())?;
        file.as_file().sync_data()?;
        file.persist(path).map_err(|failed| failed.error)
    };
    write().map(drop).map_err(file_error("write", path))
}

/// Opens a file for what a process writes on its standard output, empty.
pub fn output_file(path: &Path) -> Result<File, TorError> {
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path);
    opened.map_err(file_error("open", path))
}

/// Removes what is at a path, with everything in it; nothing there is fine.
pub fn remove_tree(path: &Path) -> Result<(), TorError> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Removes a file; nothing there is fine.
pub fn remove_file(path: &Path) -> Result<(), TorError> {
    files::remove(path).map_err(file_error("remove", path))
}

/// Lists the instances that have a directory beneath a root; a root that is not there has none.
pub fn instances_in(root: &Path) -> io::Result<Vec<InstanceName>> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().to_str().and_then(|name| name.parse().ok()));
    }
    Ok(names)
}

/// Takes the lock of an instance, which another process that works on it holds as well.
pub async fn lock(layout: &Layout, name: &InstanceName) -> Result<Lock, TorError> {
    const PATIENCE: Duration = Duration::from_secs(30);
    const STEP: Duration = Duration::from_millis(50);
    prepare_roots(layout)?;
    let path = layout.instance(name).lock;
    let wait = async {
        loop {
            if let Some(lock) = try_lock(&path).map_err(file_error("lock", &path))? {
                return Ok(lock);
            }
            tokio::time::sleep(STEP).await;
        }
    };
    let late = TorError::Deadline { instance: name.clone(), action: "give its lock free", seconds: PATIENCE.as_secs() };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or(Err(late))
}

/// Takes a lock if it is free, and if its file was not removed meanwhile.
fn try_lock(path: &Path) -> io::Result<Option<Lock>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(rustix::io::Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let is_current = fs::metadata(path).is_ok_and(|found| file.metadata().is_ok_and(|ours| ours.ino() == found.ino()));
    Ok(is_current.then_some(Lock { _file: file }))
}

/// Puts the log of a tor that has ended aside: the next one begins its own.
pub fn set_log_aside(paths: &InstancePaths) -> Result<(), TorError> {
    match fs::rename(paths.log(), paths.earlier_log()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(file_error("move", &paths.log())(error)),
        _ => Ok(()),
    }
}

/// Cuts a log that has grown too long, and keeps what is cut off; tor appends, so it goes on at the new end.
pub fn trim_log(paths: &InstancePaths) -> io::Result<()> {
    match fs::metadata(paths.log()) {
        Ok(found) if found.len() > MAX_LOG_BYTES => {
            fs::copy(paths.log(), paths.earlier_log())?;
            OpenOptions::new().write(true).open(paths.log())?.set_len(0)
        }
        _ => Ok(()),
    }
}

/// Reads the last warnings of an instance's log, or of what it wrote before its log was open.
pub fn last_warnings(paths: &InstancePaths) -> String {
    let of = |path: &Path| warnings_of(&fs::read_to_string(path).unwrap_or_default());
    let found = Some(of(&paths.log())).filter(|found| !found.is_empty()).unwrap_or_else(|| of(&paths.out()));
    if found.is_empty() { format!("its log says nothing ({})", paths.log().display()) } else { found }
}

/// Picks tor's warnings and errors out of a log, without times; other programs' lines count as warnings.
pub fn warnings_of(log: &str) -> String {
    let mut found: Vec<&str> = Vec::new();
    for line in log.lines().rev().map(str::trim).filter(|line| !line.is_empty()) {
        let text = match line.split_once("] ") {
            Some((head, text)) if head.ends_with("[warn") || head.ends_with("[err") => text,
            Some((head, _)) if head.contains('[') => continue,
            _ => line,
        };
        // tor says these in every case and they explain nothing.
        let is_noise = text.starts_with("You are running Tor as root") || text.starts_with("Reading config failed");
        if !is_noise && !found.contains(&text) {
            found.push(text);
        }
        if found.len() == WARNINGS_IN_ERRORS {
            break;
        }
    }
    found.reverse();
    found.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_in_the_warnings() {
        let log = "Nov 24 08:06:32.687 [notice] Tor 0.4.9.11 running\n\
            Nov 24 08:06:32.687 [warn] Failed to parse/validate config: Unknown option 'Foo'.  Failing.\n\
            Nov 24 08:06:32.687 [err] Reading config failed--see warnings above.\n";
        assert_eq!(warnings_of(log), "Failed to parse/validate config: Unknown option 'Foo'.  Failing.");
        assert_eq!(
            warnings_of("setpriv: failed to execute tor: No such file\n"),
            "setpriv: failed to execute tor: No such file"
        );
    }

    #[test]
    fn a_directory_that_others_may_enter_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let open = dir.path().join("open");
        fs::create_dir(&open).unwrap();
        fs::set_permissions(&open, Permissions::from_mode(0o755)).unwrap();
        let error = private_directory(&open).unwrap_err();
        assert!(crate::error::chain(&error).ends_with("others may enter it (mode 755): chmod it to 700"), "{error}");
        fs::set_permissions(&open, Permissions::from_mode(0o700)).unwrap();
        assert!(private_directory(&open).is_ok());
    }

    #[test]
    fn a_lock_is_held_by_one_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let held = try_lock(&path).unwrap().unwrap();
        assert!(try_lock(&path).unwrap().is_none());
        fs::remove_file(&path).unwrap();
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }

    #[test]
    fn a_long_log_is_cut_and_the_one_of_before_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout { runtime_dir: dir.path().into(), state_dir: dir.path().into(), torrc_defaults: None };
        let paths = layout.instance(&"eu-0".parse().unwrap());
        set_log_aside(&paths).unwrap();
        fs::create_dir_all(&paths.runtime).unwrap();
        let length = |path| fs::metadata(path).map(|found| found.len()).ok();
        let lengths = || (length(paths.log()), length(paths.earlier_log()));
        File::create(paths.log()).unwrap().set_len(MAX_LOG_BYTES).unwrap();
        trim_log(&paths).unwrap();
        assert_eq!(lengths(), (Some(MAX_LOG_BYTES), None));
        File::create(paths.log()).unwrap().set_len(MAX_LOG_BYTES + 1).unwrap();
        trim_log(&paths).unwrap();
        assert_eq!(lengths(), (Some(0), Some(MAX_LOG_BYTES + 1)));
        set_log_aside(&paths).unwrap();
        assert_eq!(lengths(), (None, Some(0)));
    }
}
