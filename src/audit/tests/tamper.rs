//! Every bit that is changed and every row that is cut off is found.

use std::io::Cursor;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension as _, params};

use super::*;
use crate::audit::check::Seals;
use crate::audit::seal::{About, Seal};

/// Where a bit can stand: a table, its key, and a column.
struct Field {
    table: &'static str,
    key: &'static str,
    column: String,
}

/// A trail of deeds that use every column; the first of them are a hundred days old.
async fn rich(path: &Path, count: u32, old: u32) -> Audit {
    let audit = Audit::open(path).unwrap();
    for number in 0..count {
        let address = IpAddr::from([203, 0, 113, u8::try_from(number % 250).unwrap()]);
        let who = Who {
            signers: vec!["ada@example.org (SHA256:x)".to_owned(), "bob".to_owned()],
            uid: Some(number),
            token: Some("0f".repeat(16)),
            address: Some(address),
        };
        let age = jiff::SignedDuration::from_hours(if number < old { 2_400 } else { 0 });
        audit.append_of(Record { at: Timestamp::now() - age, ..record(number) }, who);
        if number % 200 == 199 {
            audit.flush().await.unwrap();
        }
    }
    audit
}

/// A small one, with an erased address, behind an anchor.
fn small() -> (TempDir, PathBuf) {
    let (directory, path) = directory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let audit = rich(&path, 5, 2).await;
        let network = address("203.0.113.3").unwrap();
        assert_eq!(audit.erase(network, Who::default(), "test".to_owned()).await.unwrap(), 1);
        // The first two rows go.
        audit.follow(AuditPolicy { keep_for: std::time::Duration::from_secs(99 * 86_400), ..AuditPolicy::default() });
        audit.flush().await.unwrap();
    });
    let verified = verify(&path, &own(&path)).unwrap();
    assert_eq!((verified.removed, verified.erased), (2, 1), "{verified:?}");
    (directory, path)
}

fn fields(database: &Connection) -> Vec<Field> {
    [("record", "row"), ("opening", "row"), ("seal", "about")]
        .into_iter()
        .flat_map(|(table, key)| {
            let mut columns = database.prepare(&format!("SELECT name FROM pragma_table_info('{table}')")).unwrap();
            let columns: Vec<String> =
                columns.query_map([], |column| column.get(0)).unwrap().collect::<Result<_, _>>().unwrap();
            columns.into_iter().map(move |column| Field { table, key, column })
        })
        .collect()
}

/// Every value of a field that differs in one bit, with the key of its row.
fn flips(database: &Connection, field: &Field) -> Vec<(Value, Value)> {
    let Field { table, key, column } = field;
    let mut query = database.prepare(&format!("SELECT {key}, {column} FROM {table}")).unwrap();
    let rows = query.query_map([], |row| Ok((row.get::<_, Value>(0)?, row.get::<_, Value>(1)?))).unwrap();
    let flip = |bytes: &[u8], bit: usize| {
        let mut bytes = bytes.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        bytes
    };
    rows.map(Result::unwrap)
        .flat_map(|(key, value)| {
            let flipped: Vec<Value> = match value {
                Value::Null => Vec::new(),
                Value::Integer(number) => (0..63).map(|bit| Value::Integer(number ^ (1 << bit))).collect(),
                // As bytes, since they need not be UTF-8 any more: the statement makes text of them.
                Value::Text(text) => (0..text.len() * 8).map(|bit| Value::Blob(flip(text.as_bytes(), bit))).collect(),
                Value::Blob(bytes) => (0..bytes.len() * 8).map(|bit| Value::Blob(flip(&bytes, bit))).collect(),
                Value::Real(_) => panic!("nothing is a fraction"),
            };
            flipped.into_iter().map(move |flipped| (key.clone(), flipped))
        })
        .collect()
}

/// Checks what a connection sees, whatever it has not committed.
fn is_whole(database: &Connection) -> bool {
    let pinned = Pinned::default();
    Reading::over(database, |reading| reading.verify(&pinned).is_ok())
}

#[test]
fn every_bit_of_a_small_trail_counts() {
    let (_directory, path) = small();
    tamper(&path, "");
    let database = Connection::open(&path).unwrap();
    database.execute_batch("PRAGMA ignore_check_constraints = ON").unwrap();
    assert!(is_whole(&database));
    let mut tried = 0;
    for field in fields(&database) {
        let Field { table, key, column } = &field;
        let cast = if column == "hash" && *table == "record" || matches!(column.as_str(), "row" | "uid") {
            "?2"
        } else {
            "CAST(?2 AS TEXT)"
        };
        for (at, flipped) in flips(&database, &field) {
            database.execute_batch("BEGIN").unwrap();
            let sql = format!("UPDATE {table} SET {column} = {cast} WHERE {key} = ?1");
            // A row that cannot be moved onto another one was not changed.
            if database.execute(&sql, params![at, flipped]).is_ok() {
                assert!(!is_whole(&database), "{table}.{column} of {at:?}: {flipped:?}");
                tried += 1;
            }
            database.execute_batch("ROLLBACK").unwrap();
        }
    }
    assert!(tried > 14_000, "{tried}");
    assert!(is_whole(&database));
}

#[test]
fn every_bit_of_an_export_counts() {
    let (_directory, path) = small();
    let mut text = Vec::new();
    assert_eq!(export(&path, &mut text, Path::new("export")).unwrap(), 4);
    let pinned = own(&path);
    let is_whole = |text: &[u8]| portable::verify(Cursor::new(text), Path::new("export"), &pinned).is_ok();
    assert!(is_whole(&text));
    for bit in 0..text.len() * 8 {
        text[bit / 8] ^= 1 << (bit % 8);
        assert!(!is_whole(&text), "bit {} of byte {}", bit % 8, bit / 8);
        text[bit / 8] ^= 1 << (bit % 8);
    }
    // The last line end is no part of any line.
    for end in 0..text.len() - 1 {
        assert!(!is_whole(&text[..end]), "{end} bytes");
    }
}

/// A generator of numbers that gives the same ones each time.
fn numbers(seed: u64) -> impl FnMut(u64) -> u64 {
    let mut state = seed;
    move |below| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    }
}

#[test]
fn ten_thousand_rows_are_verified_and_no_change_or_cut_is_missed() {
    const ROWS: u32 = 10_000;
    let (_directory, path) = directory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    drop(runtime.block_on(rich(&path, ROWS, 0)));
    let pinned = own(&path);
    assert_eq!(verify(&path, &pinned).unwrap().rows, u64::from(ROWS));
    tamper(&path, "");
    let database = Connection::open(&path).unwrap();
    let columns = ["at", "object", "action", "cause", "result", "signers", "token", "address"];
    let mut number = numbers(20_261_127);
    for _ in 0..32 {
        let row = i64::try_from(1 + number(u64::from(ROWS))).unwrap();
        let column = columns[usize::try_from(number(8)).unwrap()];
        let query = format!("SELECT {column} FROM record WHERE row = ?1");
        let mut bytes = database.query_row(&query, [row], |found| found.get::<_, String>(0)).unwrap().into_bytes();
        let bit = usize::try_from(number(u64::try_from(bytes.len()).unwrap() * 8)).unwrap();
        bytes[bit / 8] ^= 1 << (bit % 8);
        database.execute_batch("BEGIN").unwrap();
        let sql = format!("UPDATE record SET {column} = CAST(?2 AS TEXT) WHERE row = ?1");
        assert_eq!(database.execute(&sql, params![row, bytes]).unwrap(), 1);
        assert!(!is_whole(&database), "{column} of row {row}, bit {bit}");
        database.execute_batch("ROLLBACK").unwrap();
    }
    // Each cut, from the end to nothing: what is left is whole in itself, and is not what was signed.
    let head = reading::seals(&database).unwrap().head.unwrap();
    database.execute_batch("BEGIN").unwrap();
    let (mut delete, mut newest) = (
        database.prepare("DELETE FROM record WHERE row = ?1").unwrap(),
        database.prepare("SELECT row, hash FROM record ORDER BY row DESC LIMIT 1").unwrap(),
    );
    for row in (1..=i64::from(ROWS)).rev() {
        delete.execute([row]).unwrap();
        let end = newest.query_row([], |found| Ok((found.get(0)?, found.get(1)?))).optional().unwrap();
        let (last, hash) = end.unwrap_or((0, chain::BEGINNING));
        let cut = check::ends_at(last, &hash, &head, head.row).unwrap_err();
        assert!(matches!(cut, AuditError::Cut { .. }), "{row}: {cut}");
    }
    drop((delete, newest));
    database.execute_batch("COMMIT").unwrap();
    assert!(matches!(verify(&path, &pinned).unwrap_err(), AuditError::Cut { last: 0, signed: 10_000 }));
}

/// Whoever cuts rows off, and puts a signature back that was kept from then, has a trail that is whole in itself.
#[test]
fn going_back_to_an_earlier_signature_is_found_by_what_stands_elsewhere() {
    let (_directory, path) = directory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(filled(&path, 3));
    let (earlier, before) = (own(&path), Connection::open(&path).unwrap());
    let Seals { head, .. } = reading::seals(&before).unwrap();
    drop(before);
    runtime.block_on(async {
        let audit = Audit::open(&path).unwrap();
        audit.append(record(3));
        audit.append(record(4));
    });
    let later = own(&path);
    tamper(&path, "DELETE FROM record WHERE row > 3");
    reading::put_seal(&Connection::open(&path).unwrap(), About::Head, &head.unwrap()).unwrap();
    assert!(verify(&path, &Pinned::default()).is_ok(), "by itself it says nothing");
    assert!(verify(&path, &earlier).is_ok());
    assert!(matches!(verify(&path, &later).unwrap_err(), AuditError::Cut { last: 3, signed: 5 }));
    // The daemon has written down where it ended: it puts the rest aside, and says so.
    let said = logged(|| drop(Audit::open(&path).unwrap()));
    assert!(said.contains("its newest rows are gone"), "{said}");
    let first = list(&path, 10).unwrap();
    assert_eq!(first.len(), 1);
    assert!(first[0].record.cause.contains("ends at row 3, and row 5 was signed"), "{:?}", first[0].record);
    assert!(path.with_file_name("audit.db.damaged-1.head").exists());
    verify(&path, &own(&path)).unwrap();
}

/// Another key makes another trail, which the host's own key, or one that was pinned, is not taken in by.
#[test]
fn a_trail_of_another_key_is_found() {
    let (_directory, path) = directory();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(filled(&path, 3));
    let other = crate::export::key::SecretKey::from_seed(&[9; 32]);
    let database = Connection::open(&path).unwrap();
    let (row, hash) = reading::newest(&database).unwrap();
    reading::put_seal(&database, About::Head, &Seal::sign(&other, About::Head, row, &hash)).unwrap();
    assert!(verify(&path, &Pinned::default()).is_ok());
    assert!(matches!(verify(&path, &own(&path)).unwrap_err(), AuditError::OtherKey { .. }));
    drop(database);
    drop(Audit::open(&path).unwrap());
    assert!(path.with_file_name("audit.db.damaged-1").exists());
}
