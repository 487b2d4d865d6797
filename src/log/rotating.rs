//! A log file that is bounded: when it is full, it becomes `FILE.1`, that one `FILE.2`, and the oldest goes.
//!
//! It is written by hand because of what has to hold, all of which is a matter of one lock: a line is in one file whole,
//! a file that somebody has removed or moved away is made anew with the next line, and a full disk leaves no half of a
//! line behind and is told of in the file once there is room again.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_subscriber::fmt::MakeWriter;

/// How large the files become, and how many of them are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// How many bytes a file has before the next one begins.
    pub bytes: u64,
    /// How many files there are, the one that is written included; at least one.
    pub files: u32,
}

/// The files, as all threads write to them.
#[derive(Debug, Clone)]
pub struct Rotating(Arc<Mutex<Files>>);

#[derive(Debug)]
struct Files {
    path: PathBuf,
    bounds: Bounds,
    /// Closed where it could not be opened again.
    open: Option<Open>,
    /// Lines that could not be written since the last one that was.
    lost: u64,
}

#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    bytes: u64,
}

impl Rotating {
    /// Opens the file, or makes it.
    pub fn open(path: &Path, bounds: Bounds) -> io::Result<Self> {
        let open = Some(Open::at(path)?);
        Ok(Self(Arc::new(Mutex::new(Files { path: path.to_owned(), bounds, open, lost: 0 }))))
    }

    /// Writes a line, whole or not at all.
    fn line(&self, line: &[u8]) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).line(line)
    }
}

impl Open {
    fn at(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let found = file.metadata()?;
        Ok(Self { file, device: found.dev(), inode: found.ino(), bytes: found.len() })
    }

    /// Whether it is still the file of that name.
    fn is_at(&self, path: &Path) -> bool {
        fs::metadata(path).is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }

    /// Writes all of a line; what was written of one that does not fit is taken back.
    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        if let Err(error) = self.file.write_all(line) {
            self.file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += u64::try_from(line.len()).unwrap_or(u64::MAX);
        Ok(())
    }
}

impl Files {
    fn line(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.write(line);
        match written {
            Ok(()) => self.lost = 0,
            Err(_) => self.lost += 1,
        }
        written
    }

    fn write(&mut self, line: &[u8]) -> io::Result<()> {
        let length = u64::try_from(line.len()).unwrap_or(u64::MAX);
        let told = if self.lost > 0 { missing(self.lost) } else { String::new() };
        let bounds = self.bounds;
        let open = self.current()?;
        if open.bytes > 0 && open.bytes.saturating_add(length) > bounds.bytes {
            self.rotate()?;
        }
        let open = self.current()?;
        // Both or none: who reads that lines are missing reads the line behind it.
        open.write(&[told.as_bytes(), line].concat())
    }

    /// The file that is written now; one that is gone from its place is made anew.
    fn current(&mut self) -> io::Result<&mut Open> {
        let open = match self.open.take().filter(|open| open.is_at(&self.path)) {
            Some(open) => open,
            None => Open::at(&self.path)?,
        };
        Ok(self.open.insert(open))
    }

    /// Gives every file the next number; the last one goes.
    fn rotate(&mut self) -> io::Result<()> {
        let numbers = 1..self.bounds.files;
        if numbers.is_empty() {
            fs::remove_file(&self.path)?;
        }
        for number in numbers.rev() {
            let from = if number == 1 { self.path.clone() } else { self.numbered(number - 1) };
            match fs::rename(from, self.numbered(number)) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other?,
            }
        }
        self.open = None;
        Ok(())
    }

    fn numbered(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        PathBuf::from(name)
    }
}

/// A line that says how many are missing.
fn missing(lost: u64) -> String {
    let at = jiff::Timestamp::now();
    format!(
        "{{\"timestamp\":\"{at:.6}\",\"level\":\"WARN\",\"message\":\"{lost} lines are missing here: they could not be written\"}}\n"
    )
}

/// One line on its way: the formatter hands it over whole.
#[derive(Debug)]
pub struct Line<'a>(&'a Rotating);

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // What fails is counted, and told in the file; standard error has the line as well.
        let _ = self.0.line(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Rotating {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line(self)
    }
}

#[cfg(test)]
mod tests;
