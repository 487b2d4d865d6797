use std::fs;

use super::replace::{Staged, finish};
use super::*;

/// What stands in a directory, with contents; but states that were replaced.
fn content(directory: &Path) -> Vec<(String, String)> {
    let mut found: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| !entry.file_name().to_string_lossy().starts_with(replace::ASIDE))
        .map(|entry| (entry.file_name().into_string().unwrap(), fs::read_to_string(entry.path()).unwrap_or_default()))
        .collect();
    found.sort();
    found
}

#[test]
fn a_part_of_a_later_version_is_refused_and_stays_as_it_is() {
    let later = format!("{{\"version\":{},\"exitpool\":\"9.9.9\"}}", VERSION + 1);
    for name in [STAMP, ratchet::FILE, LOCKOUTS] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(name), &later).unwrap();
        let refused = admit(directory.path()).unwrap_err();
        assert!(matches!(&refused, StateError::Newer { found: 2, known: 1, .. }), "{name}: {refused:?}");
        assert_eq!(content(directory.path()), [(name.to_owned(), later.clone())]);
    }
}

/// Its pages look damaged to a program that does not know them; it is neither opened nor moved aside.
#[test]
fn a_database_of_a_later_version_is_no_damaged_one() {
    for (name, known) in [(TRAIL, audit::VERSION), (OUTBOX, outbox::VERSION)] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(name);
        let made = rusqlite::Connection::open(&path).unwrap();
        made.execute_batch("CREATE TABLE later (x)").unwrap();
        made.pragma_update(None, "user_version", known + 7).unwrap();
        drop(made);
        let mut bytes = fs::read(&path).unwrap();
        // A format that no SQLite of today reads.
        bytes[19] = 9;
        fs::write(&path, &bytes).unwrap();
        let refused = admit(directory.path()).unwrap_err();
        assert!(matches!(&refused, StateError::Newer { found, .. } if *found == known + 7), "{refused:?}");
        assert!(audit::Audit::open(&directory.path().join(TRAIL)).is_err() || name == OUTBOX);
        assert!(name == TRAIL || outbox::Outbox::open(&path, "boot", std::time::Duration::ZERO).is_err());
        assert_eq!(fs::read(&path).unwrap(), bytes);
        assert!(!directory.path().join(format!("{name}.damaged-1")).exists());
    }
}

#[test]
fn a_directory_of_before_is_stamped_and_one_that_is_used_is_not_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let held = admit(directory.path()).unwrap().unwrap();
    assert_eq!(stamp(directory.path()).unwrap().version, VERSION);
    admit(directory.path()).unwrap();
    assert!(matches!(Hold::take(directory.path(), Use::Alone), Err(StateError::InUse(_))));
    drop(held);
    let alone = Hold::take(directory.path(), Use::Alone).unwrap();
    assert!(matches!(admit(directory.path()), Err(StateError::Replaced(_))));
    drop(alone);
}

#[test]
fn a_replacement_is_whole_and_what_was_there_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path();
    for round in ["first", "second"] {
        fs::write(place.join("file"), format!("before {round}")).unwrap();
        let alone = Hold::take(place, Use::Alone).unwrap();
        let staged = Staged::begin(place, &alone).unwrap();
        fs::write(staged.place().join("file"), round).unwrap();
        let aside = staged.put_in_place().unwrap().unwrap();
        assert_eq!(content(place), [("file".to_owned(), round.to_owned())]);
        assert_eq!(content(&aside), [("file".to_owned(), format!("before {round}"))]);
    }
    // One that was not agreed is undone.
    let alone = Hold::take(place, Use::Alone).unwrap();
    let staged = Staged::begin(place, &alone).unwrap();
    fs::write(staged.place().join("file"), "never").unwrap();
    std::mem::forget(staged);
    assert!(replace::is_interrupted(place));
    finish(place).unwrap();
    assert_eq!(content(place), [("file".to_owned(), "second".to_owned())]);
}
