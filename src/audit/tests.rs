//! Tests of the trail: what it keeps, what it notices, and what it survives.

mod kept;
mod tamper;

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Command, Stdio};

use jiff::Timestamp;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::desired::Revision;

use super::*;

/// Tells the test that plays the killed daemon where its trail is.
const VICTIM: &str = "EXITPOOL_TEST_AUDIT_VICTIM";

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audit.db");
    (directory, path)
}

fn record(number: u32) -> Record {
    Record {
        at: Timestamp::new(1_800_000_000 + i64::from(number), 123_456_789).unwrap(),
        revision: number.is_multiple_of(2).then(|| Revision::of_file(&[7; 32])),
        object: format!("node eu-{number}"),
        action: format!("+ node eu-{number}: will be created"),
        cause: "change".to_owned(),
        result: "done: \"quoted\", \u{fc}ml\u{e4}ut,\nnext line".to_owned(),
    }
}

async fn filled(path: &Path, count: u32) {
    let audit = Audit::open(path).unwrap();
    (0..count).for_each(|number| audit.append(record(number)));
    assert_eq!(audit.verify().await.unwrap().rows, u64::from(count));
    assert_eq!(audit.lost(), 0);
}

#[tokio::test]
async fn only_its_owner_reads_it() {
    let (directory, path) = directory();
    filled(&path, 3).await;
    for file in fs::read_dir(directory.path()).unwrap() {
        let mode = file.as_ref().unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file:?}");
    }
}

/// Changes rows as somebody does who knows what stands in the way.
fn tamper(path: &Path, sql: &str) {
    let database = Connection::open(path).unwrap();
    database.execute_batch("DROP TRIGGER record_is_not_changed; DROP TRIGGER record_is_not_deleted; DROP TRIGGER opening_is_not_changed").unwrap();
    database.execute_batch(sql).unwrap();
}

/// What this thread writes to the log meanwhile.
fn logged(work: impl FnOnce()) -> String {
    let log = tempfile::NamedTempFile::new().unwrap();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(log.reopen().unwrap()).finish();
    tracing::subscriber::with_default(subscriber, work);
    fs::read_to_string(log.path()).unwrap()
}

fn broken_row(path: &Path) -> Option<u64> {
    match verify(path, &Pinned::default()) {
        Ok(_) => None,
        Err(AuditError::Broken { row }) => Some(row),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn what_was_appended_is_listed_newest_first() {
    let (_directory, path) = directory();
    filled(&path, 3).await;
    let audit = Audit::open(&path).unwrap();
    audit.append(record(3));
    let entries = audit.list(2).await.unwrap();
    let found: Vec<(u64, Record)> = entries.iter().map(|entry| (entry.row, entry.record.clone())).collect();
    assert_eq!(found, [(4, record(3)), (3, record(2))]);
    assert_ne!(entries[0].hash, entries[1].hash);
    assert_eq!(audit.list(100).await.unwrap().len(), 4);
    assert_eq!(list(&path, 1).unwrap()[0].record, record(3), "another process may read meanwhile");
}

#[tokio::test]
async fn dropping_it_writes_what_is_queued() {
    let (_directory, path) = directory();
    let audit = Audit::open(&path).unwrap();
    (0..1000).for_each(|number| audit.append(record(number)));
    drop(audit);
    assert_eq!(verify(&path, &own(&path)).unwrap().rows, 1000);
}

#[tokio::test]
async fn every_changed_field_is_noticed() {
    for (column, value) in [
        ("at", "'2020-01-01T00:00:00Z'"),
        ("revision", "NULL"),
        ("object", "object || ' '"),
        ("action", "'- node eu-2: will be destroyed'"),
        ("cause", "'drift'"),
        ("result", "'failed'"),
        ("hash", "zeroblob(32)"),
        ("hash", "x'00'"),
    ] {
        let (_directory, path) = directory();
        filled(&path, 5).await;
        let sql = format!("UPDATE record SET {column} = {value} WHERE row = 3");
        tamper(&path, &sql);
        assert_eq!(broken_row(&path), Some(3), "{sql}");
    }
}

#[tokio::test]
async fn rows_that_are_gone_moved_or_new_are_noticed() {
    for (sql, row) in [
        ("DELETE FROM record WHERE row = 3", 3),
        ("DELETE FROM record WHERE row = 1", 1),
        ("DELETE FROM record WHERE row = 3; UPDATE record SET row = row - 1 WHERE row > 3", 3),
        ("UPDATE record SET row = 9 WHERE row = 5", 5),
        (
            "CREATE TABLE copy AS SELECT * FROM record WHERE row = 5; UPDATE copy SET row = 6; INSERT INTO record SELECT * FROM copy",
            6,
        ),
    ] {
        let (_directory, path) = directory();
        filled(&path, 5).await;
        tamper(&path, sql);
        assert_eq!(broken_row(&path), Some(row), "{sql}");
    }
}

#[tokio::test]
async fn rows_are_not_changed_by_accident() {
    let (_directory, path) = directory();
    filled(&path, 2).await;
    let database = Connection::open(&path).unwrap();
    for sql in ["UPDATE record SET result = ''", "DELETE FROM record"] {
        let error = database.execute(sql, []).unwrap_err();
        assert!(error.to_string().contains("append-only"), "{error}");
    }
}

#[tokio::test]
async fn a_newer_version_is_refused_and_left_alone() {
    let (_directory, path) = directory();
    filled(&path, 2).await;
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 3).unwrap();
    for error in [Audit::open(&path).unwrap_err(), verify(&path, &own(&path)).unwrap_err()] {
        assert!(matches!(error, AuditError::Newer { found: 3, known: 2, .. }), "{error}");
    }
    Connection::open(&path).unwrap().pragma_update(None, "user_version", 2).unwrap();
    assert_eq!(verify(&path, &own(&path)).unwrap().rows, 2);
}

#[tokio::test]
async fn a_file_that_is_no_database_is_moved_aside() {
    let (_directory, path) = directory();
    let text = "this is no database".repeat(100);
    fs::write(&path, &text).unwrap();
    fs::write(path.with_file_name("audit.db.damaged-1"), "from before").unwrap();
    let said = logged(|| drop(Audit::open(&path).unwrap()));
    assert!(said.contains("ERROR") && said.contains("audit.db.damaged-2, and a new one begins"), "{said}");
    let first = list(&path, 10).unwrap().remove(0).record;
    assert!(first.action.ends_with("audit.db.damaged-2"), "{}", first.action);
    assert_eq!(fs::read_to_string(path.with_file_name("audit.db.damaged-2")).unwrap(), text);
    assert_eq!(fs::read_to_string(path.with_file_name("audit.db.damaged-1")).unwrap(), "from before");
}

#[tokio::test]
async fn a_file_that_was_cut_off_is_moved_aside() {
    let (_directory, path) = directory();
    filled(&path, 200).await;
    let length = fs::metadata(&path).unwrap().len();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length / 2).unwrap();
    drop(Audit::open(&path).unwrap());
    assert_eq!(fs::metadata(path.with_file_name("audit.db.damaged-1")).unwrap().len(), length / 2);
}

#[tokio::test]
async fn damage_within_the_file_is_found_when_it_is_opened() {
    let (_directory, path) = directory();
    filled(&path, 200).await;
    let mut bytes = fs::read(&path).unwrap();
    let pages = 3 * 4096..;
    bytes[pages].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(&path, &bytes).unwrap();
    drop(Audit::open(&path).unwrap());
    assert_eq!(fs::read(path.with_file_name("audit.db.damaged-1")).unwrap().len(), bytes.len());
}

#[tokio::test]
async fn damage_while_it_runs_loses_no_record() {
    let (_directory, path) = directory();
    let audit = Audit::open(&path).unwrap();
    (0..200).for_each(|number| audit.append(record(number)));
    audit.flush().await.unwrap();
    Connection::open(&path).unwrap().pragma_update(None, "wal_checkpoint", "TRUNCATE").unwrap();
    let length = fs::metadata(&path).unwrap().len();
    fs::write(&path, vec![0x5a; usize::try_from(length).unwrap()]).unwrap();
    audit.append(record(1000));
    let entries = audit.list(10).await.unwrap();
    assert_eq!(entries.len(), 2, "that the other one is put aside, and the record");
    assert_eq!(entries[0].record, record(1000));
    assert_eq!(audit.lost(), 0);
    assert!(path.with_file_name("audit.db.damaged-1").exists());
}

#[tokio::test]
async fn a_database_that_refuses_costs_records_and_nothing_else() {
    let (_directory, path) = directory();
    filled(&path, 1).await;
    let audit = Audit::open(&path).unwrap();
    let other = Connection::open(&path).unwrap();
    other.execute_batch("DROP TABLE record").unwrap();
    audit.append(record(1));
    audit.append(record(2));
    audit.flush().await.unwrap();
    assert_eq!(audit.lost(), 2);
    assert!(audit.condition().trouble.unwrap().contains("no such table"));
    assert!(Audit::open(Path::new("/nonexistent/audit.db")).is_err());
}

/// The other half of the next test: appends for ever, and says how far it has surely come.
#[tokio::test]
#[ignore = "it is run, and killed, by the test below"]
async fn victim() {
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let audit = Audit::open(Path::new(&path)).unwrap();
    for number in 0.. {
        audit.append(record(number));
        if number % 10 == 9 {
            audit.flush().await.unwrap();
            println!("written {}", number + 1);
        }
    }
}

#[tokio::test]
async fn a_kill_at_any_moment_breaks_nothing() {
    let (_directory, path) = directory();
    let mut least = 0;
    for lines in [1, 7, 30] {
        let mut victim = Command::new(std::env::current_exe().unwrap())
            .args(["audit::tests::victim", "--exact", "--ignored", "--nocapture"])
            .env(VICTIM, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(victim.stdout.take().unwrap()).lines().map(Result::unwrap);
        let written = said.filter_map(|line| line.strip_prefix("written ").map(|count| count.parse::<u64>().unwrap()));
        least += written.take(lines).last().unwrap();
        victim.kill().unwrap();
        victim.wait().unwrap();
        let rows = verify(&path, &own(&path)).unwrap().rows;
        assert!(rows >= least, "{rows} of at least {least}");
        least = rows;
    }
    let audit = Audit::open(&path).unwrap();
    audit.append(record(0));
    assert_eq!(audit.verify().await.unwrap().rows, least + 1);
}
