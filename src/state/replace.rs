//! Replacing what stands in a state directory: all of it or nothing, whenever the program is killed.
//!
//! The directory itself stays: it may be a mount, and its parent is not ours to write in. What is to stand in it is put
//! beside the rest, in a directory of its own:
//!
//! | its name | what has happened | what a kill is followed by |
//! |---|---|---|
//! | `.restore-staged` | it is being filled; what was in force still is | it is removed |
//! | `.restore-agreed` | it is whole; what was in force is being moved into its `old/` | that goes on |
//! | `.restore-moved` | all of that is there; its `new/` is being moved out | that goes on |
//!
//! One rename leads from a name to the next. Whoever takes the directory next, the daemon as well, goes on where this was
//! left ([`finish`]), so nobody ever reads a half of each.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::{AtFlags, CWD, StatxFlags, fsync, statx};

use super::Hold;
use crate::sys::{dying, files};

const STAGED: &str = ".restore-staged";
const AGREED: &str = ".restore-agreed";
const MOVED: &str = ".restore-moved";
const OLD: &str = "old";
const NEW: &str = "new";
/// What the name of a state begins with that was replaced.
pub const ASIDE: &str = "before-restore-";
/// What the moments of this work are called.
const WORK: &str = "restore";

/// A state that is being put together beside the one in force; dropped before it is put in its place, it goes.
#[derive(Debug)]
pub struct Staged<'a> {
    state_dir: &'a Path,
}

impl<'a> Staged<'a> {
    /// Begins with nothing.
    pub fn begin(state_dir: &'a Path, _alone: &Hold) -> io::Result<Self> {
        let staged = Self { state_dir };
        for part in [NEW, OLD] {
            files::make_private_directory(&state_dir.join(STAGED).join(part))?;
        }
        Ok(staged)
    }

    /// The directory to fill.
    pub fn place(&self) -> PathBuf {
        self.state_dir.join(STAGED).join(NEW)
    }

    /// Puts it in the place of what is in force; says where that is now, where there was anything.
    pub fn put_in_place(self) -> io::Result<Option<PathBuf>> {
        let state_dir = self.state_dir;
        one_mount(state_dir)?;
        give_to_the_owner(&state_dir.join(STAGED), &fs::metadata(state_dir)?)?;
        sync_tree(&state_dir.join(STAGED))?;
        sync(state_dir)?;
        dying::moment(WORK);
        fs::rename(state_dir.join(STAGED), state_dir.join(AGREED))?;
        sync(state_dir)?;
        dying::moment(WORK);
        finish(state_dir)
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        // What is left is removed by whoever takes the directory next.
        let _ = fs::remove_dir_all(self.state_dir.join(STAGED));
    }
}

/// Whether a replacement was begun in a directory and has not ended.
pub fn is_interrupted(state_dir: &Path) -> bool {
    [STAGED, AGREED, MOVED].iter().any(|name| state_dir.join(name).exists())
}

/// Whether anything stands in a directory that a replacement would move aside.
pub fn is_empty(state_dir: &Path) -> io::Result<bool> {
    Ok(entries(state_dir)?.is_empty())
}

/// Goes on where a replacement was left, and undoes one that was not agreed yet; says where the state of before is.
///
/// Where a part of that cannot be moved, as a mount cannot, all of it stays where it was.
pub fn finish(state_dir: &Path) -> io::Result<Option<PathBuf>> {
    remove_tree(&state_dir.join(STAGED))?;
    let (agreed, moved) = (state_dir.join(AGREED), state_dir.join(MOVED));
    if agreed.exists() {
        move_aside(state_dir, &agreed).or_else(|error| undo(state_dir, &agreed).and(Err(error)))?;
        fs::rename(&agreed, &moved)?;
        sync(state_dir)?;
        dying::moment(WORK);
    }
    if !moved.exists() {
        return Ok(None);
    }
    for name in names(&moved.join(NEW))? {
        fs::rename(moved.join(NEW).join(&name), state_dir.join(&name))?;
        dying::moment(WORK);
    }
    sync(state_dir)?;
    let aside = set_aside(state_dir, &moved.join(OLD))?;
    dying::moment(WORK);
    remove_tree(&moved)?;
    sync(state_dir)?;
    Ok(aside)
}

/// Moves what was in force into what was agreed.
fn move_aside(state_dir: &Path, agreed: &Path) -> io::Result<()> {
    for name in entries(state_dir)? {
        fs::rename(state_dir.join(&name), agreed.join(OLD).join(&name))?;
        dying::moment(WORK);
    }
    sync(&agreed.join(OLD))?;
    sync(state_dir)
}

/// Moves all of it back: nothing of the new state is in its place yet.
fn undo(state_dir: &Path, agreed: &Path) -> io::Result<()> {
    for name in names(&agreed.join(OLD))? {
        fs::rename(agreed.join(OLD).join(&name), state_dir.join(&name))?;
    }
    sync(state_dir)?;
    fs::rename(agreed, state_dir.join(STAGED))?;
    remove_tree(&state_dir.join(STAGED))
}

/// Gives the state of before its name; nothing has none.
fn set_aside(state_dir: &Path, old: &Path) -> io::Result<Option<PathBuf>> {
    if !old.exists() || names(old)?.is_empty() {
        return Ok(None);
    }
    let stem = state_dir.join(format!("{ASIDE}{}", Timestamp::now().strftime("%Y%m%dT%H%M%SZ")));
    let numbered = |number: u32| match number {
        1 => stem.clone(),
        _ => PathBuf::from(format!("{}-{number}", stem.display())),
    };
    let aside = (1..).map(numbered).find(|path| !path.exists()).unwrap_or(stem.clone());
    fs::rename(old, &aside)?;
    Ok(Some(aside))
}

/// The names in a state directory, without those that a replacement leaves where they are.
fn entries(state_dir: &Path) -> io::Result<Vec<String>> {
    let stays =
        |name: &String| [STAGED, AGREED, MOVED, "lost+found"].contains(&name.as_str()) || name.starts_with(ASIDE);
    Ok(names(state_dir)?.into_iter().filter(|name| !stays(name)).collect())
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let name = |entry: io::Result<fs::DirEntry>| {
        let name = entry?.file_name();
        name.into_string().map_err(|name| io::Error::other(format!("{} is no name of ours", name.display())))
    };
    fs::read_dir(directory)?.map(name).collect()
}

/// What is renamed has to be of one mount: a part that is a mount of its own cannot be moved. Which device a file is on says
/// nothing of that: on an overlay, files have others than directories.
fn one_mount(state_dir: &Path) -> io::Result<()> {
    let mount = |path: &Path| {
        let found = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::MNT_ID);
        found.ok().filter(|found| found.stx_mask & StatxFlags::MNT_ID.bits() != 0).map(|found| found.stx_mnt_id)
    };
    let own = mount(state_dir);
    match entries(state_dir)?.into_iter().find(|name| mount(&state_dir.join(name)) != own) {
        Some(name) => Err(io::Error::other(format!("{name} is a mount of its own: unmount it first"))),
        None => Ok(()),
    }
}

/// What root puts in its place, the daemon's user has to read.
fn give_to_the_owner(path: &Path, owner: &fs::Metadata) -> io::Result<()> {
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::lchown(path, Some(owner.uid()), Some(owner.gid()))?;
        if path.is_dir() {
            names(path)?.iter().try_for_each(|name| give_to_the_owner(&path.join(name), owner))?;
        }
    }
    Ok(())
}

fn sync_tree(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        names(path)?.iter().try_for_each(|name| sync_tree(&path.join(name)))?;
    }
    sync(path)
}

fn sync(path: &Path) -> io::Result<()> {
    Ok(fsync(fs::File::open(path)?)?)
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
