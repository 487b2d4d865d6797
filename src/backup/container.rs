//! The container: a gzipped tar whose first member is the manifest and whose last one the sums of all.

use std::fs::{self, File};
use std::io::{self, BufRead, Read, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use flate2::Compression;
use flate2::bufread::GzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest as _, Sha256};
use tar::{Archive, Builder, Entries, Header};

use super::BackupError;
use super::envelope::unreadable;
use super::manifest::{Entry, Manifest, NAME, SUMS};
use super::members::{Content, Kind, Member};
use crate::desired::names::hex;
use crate::sys::{dying, files, host};

/// How gzip begins.
const MAGIC: &[u8] = &[0x1f, 0x8b];
/// A manifest names a few thousand members at the most.
const LONGEST_MANIFEST_BYTES: u64 = 16 << 20;
/// What is read at once.
const CHUNK_BYTES: usize = 64 << 10;
/// What stays free on a disk that a backup is unpacked to.
const SPARE_MIB: u64 = 8;

/// Whether secret keys are written down while a backup is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// They are looked at and left in it.
    Leave,
    /// They are unpacked with the rest.
    Unpack,
}

/// Says what a manifest says of a member.
pub fn entry(member: &Member) -> Result<Entry, BackupError> {
    let mut sum = Sha256::new();
    let size = match &member.content {
        Content::Bytes(bytes) => {
            sum.update(bytes);
            bytes.len() as u64
        }
        Content::File(path) => {
            let copied = File::open(path).and_then(|mut file| io::copy(&mut file, &mut sum));
            copied.map_err(|source| BackupError::Read { path: path.clone(), source })?
        }
    };
    Ok(Entry { name: member.name.clone(), kind: member.kind, size, sha256: hex(&sum.finalize()) })
}

/// Packs a backup.
pub fn pack(to: &mut dyn Write, manifest: &Manifest, members: &[Member]) -> io::Result<()> {
    let mut tar = Builder::new(GzEncoder::new(to, Compression::default()));
    let made_at = u64::try_from(manifest.made_at.as_second()).unwrap_or(0);
    let header = |size: u64| {
        let mut header = Header::new_gnu();
        header.set_mode(0o600);
        header.set_mtime(made_at);
        header.set_size(size);
        header
    };
    let mut document = serde_json::to_vec_pretty(manifest)?;
    document.push(b'\n');
    tar.append_data(&mut header(document.len() as u64), NAME, &document[..])?;
    for (member, entry) in members.iter().zip(&manifest.members) {
        match &member.content {
            Content::Bytes(bytes) => tar.append_data(&mut header(entry.size), &member.name, &bytes[..])?,
            Content::File(path) => tar.append_data(&mut header(entry.size), &member.name, File::open(path)?)?,
        }
        dying::moment("backup");
    }
    let sums = manifest.sums(&hex(&Sha256::digest(&document)));
    tar.append_data(&mut header(sums.len() as u64), SUMS, sums.as_bytes())?;
    tar.into_inner()?.finish()?.flush()
}

/// Unpacks a backup into a directory, and checks it to the last byte.
pub fn unpack(mut from: Box<dyn BufRead>, into: &Path, keys: Keys) -> Result<Manifest, BackupError> {
    let beginning = from.fill_buf().map_err(unreadable)?;
    if beginning.is_empty() {
        return Err(BackupError::Truncated("it is empty".to_owned()));
    }
    if !beginning.starts_with(MAGIC) {
        return Err(BackupError::Foreign("it is neither a gzipped tar nor an age file".to_owned()));
    }
    let mut archive = Archive::new(GzDecoder::new(from));
    let manifest = {
        let mut entries = archive.entries().map_err(unreadable)?;
        let document = first(&mut entries)?;
        let manifest = Manifest::read(&document)?;
        let free = host::disk(into).map_err(|source| BackupError::Read { path: into.to_owned(), source })?.free_mib;
        let needed = (manifest.size() >> 20) + SPARE_MIB;
        if needed > free {
            return Err(BackupError::NoRoom { path: into.to_owned(), needed_mib: needed, free_mib: free });
        }
        for member in &manifest.members {
            let found = next(&mut entries, &member.name)?;
            let to = (member.kind != Kind::Key || keys == Keys::Unpack).then(|| into.join(&member.name));
            take(found, member, to.as_deref())?;
        }
        let sums = small(next(&mut entries, SUMS)?)?;
        if sums != manifest.sums(&hex(&Sha256::digest(&document))).as_bytes() {
            return Err(BackupError::Changed(format!("its {SUMS} are of another content")));
        }
        if entries.next().is_some() {
            return Err(BackupError::Changed(format!("something stands behind its {SUMS}")));
        }
        manifest
    };
    ends(archive.into_inner())?;
    Ok(manifest)
}

/// What stands behind the last member is the end, whose sum gzip checks.
fn ends(mut rest: GzDecoder<Box<dyn BufRead>>) -> Result<(), BackupError> {
    let mut block = [0; CHUNK_BYTES];
    loop {
        match rest.read(&mut block).map_err(unreadable)? {
            0 => break,
            length if block[..length].iter().all(|byte| *byte == 0) => {}
            _ => return Err(BackupError::Changed("something stands behind its end".to_owned())),
        }
    }
    match rest.into_inner().fill_buf().map_err(unreadable)?.is_empty() {
        true => Ok(()),
        false => Err(BackupError::Changed("something stands behind its end".to_owned())),
    }
}

type Found<'a> = tar::Entry<'a, GzDecoder<Box<dyn BufRead>>>;

/// The manifest; what does not begin with one is no backup.
fn first(entries: &mut Entries<'_, GzDecoder<Box<dyn BufRead>>>) -> Result<Vec<u8>, BackupError> {
    let foreign = || BackupError::Foreign(format!("it does not begin with a {NAME}"));
    let entry = match entries.next() {
        None => return Err(foreign()),
        Some(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(unreadable(error)),
        Some(entry) => entry.map_err(|_| foreign())?,
    };
    if entry.path_bytes().as_ref() != NAME.as_bytes() {
        return Err(foreign());
    }
    small(entry)
}

fn next<'a>(entries: &mut Entries<'a, GzDecoder<Box<dyn BufRead>>>, name: &str) -> Result<Found<'a>, BackupError> {
    let entry = entries.next().ok_or_else(|| BackupError::Truncated(format!("{name} is missing")))?;
    let entry = entry.map_err(unreadable)?;
    match entry.path_bytes().as_ref() == name.as_bytes() && entry.header().entry_type().is_file() {
        true => Ok(entry),
        false => Err(BackupError::Changed(format!("something else stands where {name} should be"))),
    }
}

fn small(entry: Found<'_>) -> Result<Vec<u8>, BackupError> {
    let mut bytes = Vec::new();
    entry.take(LONGEST_MANIFEST_BYTES).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}

/// Takes a member out, to a file or to nowhere, and compares it with what the manifest says.
fn take(mut found: Found<'_>, member: &Entry, to: Option<&Path>) -> Result<(), BackupError> {
    let mut file = to.map(|path| make(path).map_err(write_error(path))).transpose()?;
    let (mut sum, mut size, mut chunk) = (Sha256::new(), 0, vec![0; CHUNK_BYTES]);
    loop {
        let length = found.read(&mut chunk).map_err(unreadable)?;
        size += length as u64;
        if length == 0 || size > member.size {
            break;
        }
        sum.update(&chunk[..length]);
        if let (Some(file), Some(path)) = (&mut file, to) {
            file.write_all(&chunk[..length]).map_err(write_error(path))?;
        }
    }
    match size == member.size && hex(&sum.finalize()) == member.sha256 {
        true => Ok(()),
        false => Err(BackupError::Changed(format!("{} is not what was written", member.name))),
    }
}

fn write_error(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::Write { path: path.to_owned(), source }
}

fn make(path: &Path) -> io::Result<File> {
    if let Some(directory) = path.parent() {
        files::make_private_directory(directory)?;
    }
    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}
