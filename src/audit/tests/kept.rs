//! What is kept and how long, what is erased, and what an older version has left.

use std::time::Duration;

use super::*;
use crate::desired::AddressPolicy;

fn of(address: &str) -> Who {
    Who { token: Some("0f0f".to_owned()), address: Some(address.parse().unwrap()), ..Who::default() }
}

/// Whether any file of a trail has a text.
fn stands_in(directory: &Path, text: &str) -> bool {
    let files = fs::read_dir(directory).unwrap().map(|file| fs::read(file.unwrap().path()).unwrap());
    files.into_iter().any(|bytes| bytes.windows(text.len()).any(|window| window == text.as_bytes()))
}

#[tokio::test]
async fn an_erased_address_is_in_no_file_and_the_chain_is_whole() {
    let (directory, path) = directory();
    let audit = Audit::open(&path).unwrap();
    for (number, address) in ["203.0.113.9", "198.51.100.7", "203.0.113.9", "2001:db8::9"].into_iter().enumerate() {
        audit.append_of(record(u32::try_from(number).unwrap()), of(address));
    }
    let before = audit.verify().await.unwrap();
    let hashes = |entries: Vec<Entry>| entries.into_iter().map(|entry| (entry.row, entry.hash)).collect::<Vec<_>>();
    let written = hashes(audit.list(9).await.unwrap());
    assert!(stands_in(directory.path(), "203.0.113.9"));
    let by = Who { uid: Some(0), ..Who::default() };
    let erased = audit.erase(address("203.0.113.9").unwrap(), by, "order of root".to_owned()).await.unwrap();
    assert_eq!(erased, 2);
    assert!(!stands_in(directory.path(), "203.0.113.9"), "neither in a free page nor in SQLite's log");
    let after = audit.verify().await.unwrap();
    assert_eq!((after.rows, after.erased), (before.rows + 1, 2));
    let mut entries = audit.list(9).await.unwrap();
    let said = entries.remove(0);
    assert_eq!(said.record.action, "the addresses of 2 rows are erased: 1, 3");
    assert_eq!((said.uid, said.record.cause.as_str()), (Some(0), "order of root"));
    assert_eq!(entries.iter().map(|entry| entry.address_erased).collect::<Vec<_>>(), [false, true, false, true]);
    assert_eq!(hashes(entries), written, "no row has become another one");
    assert_eq!(audit.erase(address("203.0.113.9").unwrap(), Who::default(), String::new()).await.unwrap(), 0);
    // Nobody else may take one out.
    tamper(&path, "DELETE FROM opening WHERE row = 2");
    assert!(matches!(audit.verify().await.unwrap_err(), AuditError::Unopened { row: 2 }));
}

#[tokio::test]
async fn addresses_are_written_as_the_desired_state_says() {
    let (directory, path) = directory();
    let audit = Audit::open(&path).unwrap();
    for (number, addresses) in [AddressPolicy::Prefix, AddressPolicy::None, AddressPolicy::Full].into_iter().enumerate()
    {
        audit.follow(AuditPolicy { addresses, keep_for: FOR_EVER, ..AuditPolicy::default() });
        audit.append_of(record(u32::try_from(number).unwrap()), of(&format!("203.0.113.{}", 40 + number)));
    }
    let written: Vec<Option<String>> =
        audit.list(9).await.unwrap().into_iter().rev().map(|entry| entry.address).collect();
    assert_eq!(written, [Some("203.0.113.0/24".to_owned()), None, Some("203.0.113.42".to_owned())]);
    assert!(!stands_in(directory.path(), "203.0.113.40") && !stands_in(directory.path(), "203.0.113.41"));
    // What was cut down goes with any address that it may have been.
    assert_eq!(audit.erase(address("203.0.113.40").unwrap(), Who::default(), String::new()).await.unwrap(), 1);
    audit.verify().await.unwrap();
}

/// The records of these tests are dated ahead of the clock that may run here.
const FOR_EVER: Duration = Duration::from_secs(3_000 * 86_400);

#[tokio::test]
async fn old_rows_go_and_what_is_left_is_whole() {
    let (_directory, path) = directory();
    let audit = Audit::open(&path).unwrap();
    let dated = |days: i64, number: u32| Record {
        at: Timestamp::now() - jiff::SignedDuration::from_hours(24 * days),
        ..record(number)
    };
    for number in 0..100 {
        audit.append_of(dated(100 - i64::from(number), number), of("203.0.113.9"));
    }
    let early = own_place(&audit, &path).await;
    audit.follow(AuditPolicy { keep_for: Duration::from_secs(86_400 * 50 + 3_600), ..AuditPolicy::default() });
    audit.append(dated(0, 100));
    let verified = audit.verify().await.unwrap();
    assert_eq!((verified.removed, verified.rows), (50, 51));
    assert_eq!(audit.list(200).await.unwrap().len(), 51);
    assert!(verify(&path, &early).is_ok(), "a place that was kept is still a place of it");
    // Without its anchor, or with fewer rows than it says, it is nobody's trail.
    let copy = path.with_file_name("copy.db");
    for sql in ["DELETE FROM seal WHERE about = 'anchor'", "DELETE FROM record WHERE row = 51"] {
        let database = Connection::open(&path).unwrap();
        let _ = fs::remove_file(&copy);
        database.execute("VACUUM INTO ?1", [copy.to_str().unwrap()]).unwrap();
        assert!(verify(&copy, &Pinned::default()).is_ok());
        tamper(&copy, sql);
        assert!(broken_row(&copy).is_some(), "{sql}");
    }
    // All of it may go, and it goes on.
    audit.follow(AuditPolicy { keep_for: Duration::from_secs(0), ..AuditPolicy::default() });
    audit.append(dated(0, 101));
    let verified = audit.verify().await.unwrap();
    assert_eq!((verified.removed, verified.rows), (101, 1));
    drop(audit);
    let audit = Audit::open(&path).unwrap();
    audit.append(dated(0, 102));
    assert_eq!(audit.verify().await.unwrap().rows, 2);
}

async fn own_place(audit: &Audit, path: &Path) -> Pinned {
    audit.flush().await.unwrap();
    own(path)
}

#[tokio::test]
async fn a_trail_that_is_too_large_loses_its_oldest_rows_and_its_file_shrinks() {
    let (_directory, path) = directory();
    let audit = Audit::open(&path).unwrap();
    let keep = AuditPolicy { keep_for: FOR_EVER, keep_bytes: 256 << 10, ..AuditPolicy::default() };
    for round in 0..8 {
        (0..500).for_each(|number| audit.append_of(record(round * 500 + number), of("203.0.113.9")));
        audit.flush().await.unwrap();
    }
    Connection::open(&path).unwrap().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let before = fs::metadata(&path).unwrap().len();
    audit.follow(keep);
    let verified = audit.verify().await.unwrap();
    assert_eq!(verified.removed + verified.rows, 4_000);
    assert!(verified.rows > 200, "{}", verified.rows);
    let after = fs::metadata(&path).unwrap().len();
    assert!(after < before / 2 && after < 320 << 10, "{before} {after}");
}

/// What version 1 made, written by its own hand: the layout, two rows, and their hashes.
fn of_version_1(path: &Path) {
    let database = Connection::open(path).unwrap();
    database
        .execute_batch(
            "CREATE TABLE record (row INTEGER PRIMARY KEY, at TEXT NOT NULL, revision TEXT, object TEXT NOT NULL,
                 action TEXT NOT NULL, cause TEXT NOT NULL, result TEXT NOT NULL, hash BLOB NOT NULL) STRICT;
             CREATE TRIGGER record_is_not_changed BEFORE UPDATE ON record
                 BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
             CREATE TRIGGER record_is_not_deleted BEFORE DELETE ON record
                 BEGIN SELECT RAISE(ABORT, 'the audit trail is append-only'); END;
             PRAGMA user_version = 1;",
        )
        .unwrap();
    let rows = [
        (1, "node eu-0", "+ node eu-0: will be created", "change"),
        (2, "grant crawler", "a list of 2 nodes of eu was downloaded as csv", "token 0f0f from 203.0.113.9"),
    ];
    let mut hash = [0; 32];
    for (row, object, action, cause) in rows {
        let json = format!(
            r#"{{"row":{row},"at":"2026-11-24T08:00:00Z","revision":null,"object":"{object}","action":"{action}","cause":"{cause}","result":"done"}}"#
        );
        hash = <sha2::Sha256 as sha2::Digest>::digest([hash.as_slice(), json.as_bytes()].concat()).into();
        let insert = "INSERT INTO record VALUES (?1, '2026-11-24T08:00:00Z', NULL, ?2, ?3, ?4, 'done', ?5)";
        database.execute(insert, rusqlite::params![row, object, action, cause, hash]).unwrap();
    }
}

#[tokio::test]
async fn a_trail_of_version_1_is_carried_over() {
    let (directory, path) = directory();
    of_version_1(&path);
    let older = verify(&path, &Pinned::default()).unwrap_err();
    assert!(matches!(older, AuditError::Older { found: 1, .. }), "{older}");
    let audit = Audit::open(&path).unwrap();
    assert_eq!(audit.verify().await.unwrap().rows, 3);
    let entries = audit.list(9).await.unwrap();
    assert!(entries[0].record.action.starts_with("2 rows are carried over from version 1"), "{:?}", entries[0]);
    assert_eq!((entries[1].token.as_deref(), entries[1].address.as_deref()), (Some("0f0f"), Some("203.0.113.9")));
    assert_eq!((entries[1].record.cause.as_str(), entries[2].record.cause.as_str()), (DOWNLOADED, "change"));
    assert_eq!(audit.erase(address("203.0.113.9").unwrap(), Who::default(), String::new()).await.unwrap(), 1);
    assert!(!stands_in(directory.path(), "203.0.113.9"));
    audit.verify().await.unwrap();
}

#[tokio::test]
async fn a_trail_of_version_1_that_was_changed_is_put_aside() {
    let (_directory, path) = directory();
    of_version_1(&path);
    let database = Connection::open(&path).unwrap();
    database
        .execute_batch("DROP TRIGGER record_is_not_changed; UPDATE record SET cause = 'drift' WHERE row = 1")
        .unwrap();
    drop(database);
    let audit = Audit::open(&path).unwrap();
    let entries = audit.list(9).await.unwrap();
    assert!(entries[0].record.cause.contains("broken at row 1"), "{:?}", entries[0]);
    let aside = Connection::open(path.with_file_name("audit.db.damaged-1")).unwrap();
    let rows: i64 = aside.query_row("SELECT count(*) FROM record", [], |columns| columns.get(0)).unwrap();
    assert_eq!(rows, 2);
}

#[tokio::test]
async fn a_lost_key_is_replaced_and_the_trail_says_so() {
    let (_directory, path) = directory();
    filled(&path, 3).await;
    let before = own(&path);
    fs::remove_file(path.with_extension("key")).unwrap();
    let audit = Audit::open(&path).unwrap();
    let verified = audit.verify().await.unwrap();
    assert_ne!(Some(verified.key), before.key);
    let newest = audit.list(1).await.unwrap().remove(0).record;
    assert!(newest.action.contains(&before.key.unwrap().to_string()), "{}", newest.action);
    assert!(matches!(verify(&path, &before).unwrap_err(), AuditError::OtherKey { .. }), "whoever pinned it is told");
}

#[tokio::test]
async fn what_could_not_be_written_is_counted_in_the_trail_once_it_can() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("missing/audit.db");
    let audit = Audit::keep(&path).unwrap();
    (0..3).for_each(|number| audit.append(record(number)));
    audit.flush().await.unwrap();
    let condition = audit.condition();
    assert_eq!(condition.lost, 3);
    assert!(condition.trouble.is_some());
    fs::create_dir(path.parent().unwrap()).unwrap();
    audit.append(record(3));
    let entries = audit.list(9).await.unwrap();
    assert_eq!(entries[1].record.action, "3 records before this one are missing");
    assert_eq!((audit.lost(), audit.condition().trouble), (3, None));
    audit.verify().await.unwrap();
}

#[tokio::test]
async fn entries_are_found_by_time_object_and_kind() {
    let (_directory, path) = directory();
    filled(&path, 9).await;
    let rows = |filter: &Filter| search(&path, filter).unwrap().iter().map(|entry| entry.row).collect::<Vec<_>>();
    let all = Filter::newest(99);
    assert_eq!(rows(&Filter { limit: 2, ..all.clone() }), [9, 8]);
    assert_eq!(rows(&Filter { since: Some(record(7).at), ..all.clone() }), [9, 8]);
    assert_eq!(rows(&Filter { object: Some("node eu-3".to_owned()), ..all.clone() }), [4]);
    assert_eq!(rows(&Filter { kind: Some("node".to_owned()), ..all.clone() }).len(), 9);
    assert_eq!(rows(&Filter { kind: Some("guard".to_owned()), ..all }), [0_u64; 0]);
}
