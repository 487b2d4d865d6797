//! No line is lost and none is torn, whatever happens to the files.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;

fn lines(directory: &Path) -> Vec<String> {
    let files = fs::read_dir(directory).unwrap().map(|file| file.unwrap().path());
    files.flat_map(|file| fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect::<Vec<_>>()).collect()
}

#[test]
fn many_threads_lose_no_line_while_it_rotates() {
    const THREADS: usize = 8;
    const LINES: usize = 2_000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("exitpool.log");
    // Small files, and enough of them for all that is written.
    let rotating = Rotating::open(&path, Bounds { bytes: 8 << 10, files: 1_000 }).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let rotating = rotating.clone();
            scope.spawn(move || {
                for line in 0..LINES {
                    rotating.line(format!("{thread} {line} {}\n", "x".repeat(line % 90)).as_bytes()).unwrap();
                }
            });
        }
    });
    let found = lines(directory.path());
    assert_eq!(found.len(), THREADS * LINES);
    let whole: BTreeSet<(usize, usize)> = found
        .iter()
        .map(|line| {
            let mut parts = line.split(' ');
            let mut number = || parts.next().unwrap().parse::<usize>().unwrap();
            let (thread, line) = (number(), number());
            assert_eq!(parts.next().unwrap().len(), line % 90, "it is whole");
            (thread, line)
        })
        .collect();
    assert_eq!(whole.len(), THREADS * LINES, "each one once");
    let files = fs::read_dir(directory.path()).unwrap().count();
    assert!(files > 50, "{files}");
    for file in fs::read_dir(directory.path()).unwrap() {
        assert!(file.unwrap().metadata().unwrap().len() <= 8 << 10);
    }
}

#[test]
fn as_many_files_are_kept_as_asked_for() {
    for files in [1, 2, 4] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        let rotating = Rotating::open(&path, Bounds { bytes: 10, files }).unwrap();
        for number in 0..9 {
            rotating.line(format!("line {number}\n").as_bytes()).unwrap();
        }
        let expected: Vec<String> = (0..files).map(|age| format!("line {}\n", 8 - age)).collect();
        let name = |age| if age == 0 { path.clone() } else { directory.path().join(format!("log.{age}")) };
        let found: Vec<String> = (0..files).map(|age| fs::read_to_string(name(age)).unwrap()).collect();
        assert_eq!(found, expected);
        assert_eq!(u32::try_from(fs::read_dir(directory.path()).unwrap().count()).unwrap(), files);
    }
}

#[test]
fn a_file_that_is_removed_or_moved_away_is_made_anew() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let rotating = Rotating::open(&path, Bounds { bytes: 1 << 20, files: 3 }).unwrap();
    rotating.line(b"one\n").unwrap();
    fs::rename(&path, directory.path().join("elsewhere")).unwrap();
    rotating.line(b"two\n").unwrap();
    fs::remove_file(&path).unwrap();
    rotating.line(b"three\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    // The next start goes on where this one ended.
    let again = Rotating::open(&path, Bounds { bytes: 1 << 20, files: 3 }).unwrap();
    again.line(b"four\n").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "three\nfour\n");
}

/// The same while lines are written: each stands in the file that was there, or in the one after.
#[test]
fn lines_go_on_while_files_are_moved_away() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let rotating = Rotating::open(&path, Bounds { bytes: 4 << 10, files: 1_000 }).unwrap();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if ended.load(Ordering::Relaxed) {
                    break;
                }
                // Gone meanwhile, by rotation: then there is nothing to move.
                let _ = fs::rename(&path, directory.path().join(format!("moved-{number}")));
            }
        });
        for number in 0..3_000 {
            rotating.line(format!("{number}\n").as_bytes()).unwrap();
        }
        ended.store(true, Ordering::Relaxed);
    });
    let found: BTreeSet<u32> = lines(directory.path()).iter().map(|line| line.parse().unwrap()).collect();
    assert_eq!(found.len(), 3_000);
}
