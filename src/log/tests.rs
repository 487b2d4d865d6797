//! Levels, journald's own protocol, and a disk that is full.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::unix::fs::FileExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use super::*;

/// Tells the tests that are run in a mount namespace of their own where they are.
const PLACE: &str = "EXITPOOL_TEST_LOG_PLACE";
/// More than any datagram holds.
const LARGE: usize = 1 << 20;

#[test]
fn levels_are_read_as_they_are_meant() {
    for good in ["info", "WARN", "off", "info,exitpool::tor=debug", "exitpool=trace", "warn, hyper=error"] {
        assert!(filter(good).is_ok(), "{good}: {:?}", filter(good).err());
    }
    for bad in ["", "verbose", "info,tor", "exitpool=loud", "2", "info,"] {
        assert!(filter(bad).unwrap_err().contains("no level of the log"), "{bad}");
    }
}

/// Runs a test of this file in a mount namespace that a script prepares; `None` where that cannot be.
fn in_a_namespace(prepare: &str, place: &Path, test: &str) -> Option<()> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root makes a mount namespace");
        return None;
    }
    let script = format!("{prepare}\nshift; exec \"$@\"");
    let ended = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-ec", &script, "sh"])
        .arg(place)
        .arg(std::env::current_exe().unwrap())
        .args([&format!("log::tests::{test}"), "--exact", "--ignored", "--nocapture"])
        .env(PLACE, place)
        .output()
        .unwrap();
    assert!(
        ended.status.success(),
        "{}{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr)
    );
    Some(())
}

#[test]
#[ignore = "it is run by the test below, where journald's socket is that of the test"]
fn speaker() {
    if std::env::var_os(PLACE).is_none() {
        return;
    }
    start(&Options { format: Format::Journald, levels: Some("debug".to_owned()), file: None }).unwrap();
    tracing::warn!(node = "eu-0", attempts = 3, "a line\nof two lines");
    tracing::debug!(large = "x".repeat(LARGE), "large");
    assert_eq!(levels().unwrap(), "debug");
    set_levels("error").unwrap();
    tracing::warn!("not said any more");
    assert!(set_levels("loud").is_err());
    tracing::error!("the end");
}

/// Takes one entry: the datagram, or what its file descriptor leads to.
fn receive(socket: &UnixDatagram) -> (Vec<u8>, bool) {
    let mut bytes = vec![0; 1 << 18];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let length = loop {
        match recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, RecvFlags::empty()) {
            Ok(received) => break received.bytes,
            Err(Errno::INTR) => {}
            Err(error) => panic!("nothing was said: {error}"),
        }
    };
    let handed = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut handed) => handed.next(),
        _ => None,
    });
    let Some(handed) = handed else {
        bytes.truncate(length);
        return (bytes, false);
    };
    let file = File::from(handed);
    let mut whole = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    file.read_exact_at(&mut whole, 0).unwrap();
    (whole, true)
}

/// Reads an entry as journald does: `NAME=value`, or `NAME`, the length in eight bytes, and the value.
fn fields(mut entry: &[u8]) -> BTreeMap<String, String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = BTreeMap::new();
    while !entry.is_empty() {
        let end = entry.iter().position(|byte| *byte == b'\n').unwrap();
        let line = text(&entry[..end]);
        entry = &entry[end + 1..];
        let (name, value) = match line.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => {
                let length = usize::try_from(u64::from_le_bytes(entry[..8].try_into().unwrap())).unwrap();
                let value = text(&entry[8..8 + length]);
                assert_eq!(entry[8 + length], b'\n');
                entry = &entry[9 + length..];
                (line, value)
            }
        };
        fields.insert(name, value);
    }
    fields
}

#[test]
fn journald_is_told_each_field_and_large_ones_too() {
    let directory = tempfile::tempdir().unwrap();
    let socket = UnixDatagram::bind(directory.path().join("socket")).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mount = "mount -t tmpfs tmpfs /run\nmkdir -p /run/systemd/journal\nmount --bind \"$1\" /run/systemd/journal";
    let Some(()) = in_a_namespace(mount, directory.path(), "speaker") else { return };
    // An empty datagram goes before, by which it is found out whether anybody is there.
    assert!(receive(&socket).0.is_empty());
    let (first, large, last) = (receive(&socket), receive(&socket), receive(&socket));
    let said = fields(&first.0);
    let expected = [
        ("MESSAGE", "a line\nof two lines"),
        ("PRIORITY", "4"),
        ("SYSLOG_IDENTIFIER", IDENTIFIER),
        ("EXITPOOL_NODE", "eu-0"),
        ("EXITPOOL_ATTEMPTS", "3"),
        ("TARGET", "exitpool::log::tests"),
    ];
    for (name, value) in expected {
        assert_eq!(said.get(name).map(String::as_str), Some(value), "{name} in {said:?}");
    }
    assert!(!first.1 && large.1, "what no datagram holds comes as a file");
    let large = fields(&large.0);
    assert_eq!((large["EXITPOOL_LARGE"].len(), large["MESSAGE"].as_str()), (LARGE, "large"));
    let last = fields(&last.0);
    assert_eq!((last["MESSAGE"].as_str(), last["PRIORITY"].as_str()), ("the end", "3"), "the levels were changed");
}

#[test]
#[ignore = "it is run by the test below, on a small disk"]
fn filler() {
    let Some(place) = std::env::var_os(PLACE) else { return };
    let (path, ballast) = (Path::new(&place).join("log"), Path::new(&place).join("ballast"));
    fs::write(&ballast, vec![0; 96 << 10]).unwrap();
    let log = Rotating::open(&path, Bounds { bytes: 16 << 10, files: 100 }).unwrap();
    let line = |number: usize| format!("{{\"number\":{number},\"text\":\"{}\"}}\n", "x".repeat(200));
    for number in 0..1_000 {
        log.clone().make_line(&line(number));
    }
    fs::remove_file(&ballast).unwrap();
    log.clone().make_line(&line(1_000));
    let files = fs::read_dir(&place).unwrap().map(|file| fs::read_to_string(file.unwrap().path()).unwrap());
    let lines: Vec<serde_json::Value> = files
        .flat_map(|text| text.lines().map(|line| serde_json::from_str(line).unwrap()).collect::<Vec<_>>())
        .collect();
    let numbers = lines.iter().filter(|line| line["number"].is_number()).count();
    let missing = lines.iter().find_map(|line| line["message"].as_str()?.split(' ').next()?.parse::<usize>().ok());
    let missing = missing.expect("it says how many are missing");
    assert!(missing > 0 && numbers > 1, "{missing} {numbers}");
    assert_eq!(numbers + missing, 1_001, "each line is there whole, or counted");
}

impl Rotating {
    fn make_line(&self, line: &str) {
        use tracing_subscriber::fmt::MakeWriter as _;
        self.make_writer().write_all(line.as_bytes()).unwrap();
    }
}

#[test]
fn a_full_disk_halves_no_line_and_those_that_are_missing_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let _ = in_a_namespace("mount -t tmpfs -o size=160k tmpfs \"$1\"", directory.path(), "filler");
}
