use super::*;
use crate::alert::notice::tests::notice;

fn at(second: u64) -> Duration {
    Duration::from_secs(100_000 + second)
}

fn of(incident: &str, sequence: u32, happened: Happened) -> Notice {
    Notice { incident: incident.to_owned(), sequence, ..notice(happened) }
}

struct Desk {
    directory: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("alerts.sqlite")
    }

    fn open(&self, boot: &str) -> (Outbox, Held) {
        Outbox::open(&self.path(), boot, at(0)).unwrap()
    }
}

fn keys(outbox: &mut Outbox, channel: &str, second: u64) -> Vec<String> {
    let mut keys = Vec::new();
    while let Some(due) = outbox.due(channel, at(second)).unwrap() {
        keys.push(due.notice.key());
        outbox.delivered(due.id).unwrap();
    }
    keys
}

fn post_to(outbox: &mut Outbox, channel: &str, notices: &[Notice]) {
    let messages: Vec<_> = notices.iter().map(|notice| (channel.to_owned(), notice.clone())).collect();
    outbox.commit(&[], &messages, at(0)).unwrap();
}

use Happened::{Raised, Repeated, Resolved};

#[test]
fn what_was_written_is_there_after_a_restart_and_goes_once_it_is_taken() {
    let desk = Desk::new();
    let (mut outbox, held) = desk.open("boot-1");
    assert_eq!((held.kept.len(), held.boot), (0, Boot::Another));
    post_to(&mut outbox, "mail", &[of("a", 0, Raised), of("b", 0, Raised)]);
    drop(outbox);
    let (mut outbox, held) = desk.open("boot-1");
    assert_eq!(held.boot, Boot::Same);
    assert_eq!(keys(&mut outbox, "mail", 0), ["a-0", "b-0"]);
    assert_eq!(keys(&mut outbox, "chat", 0), Vec::<String>::new());
    drop(outbox);
    assert_eq!(keys(&mut desk.open("boot-1").0, "mail", 0), Vec::<String>::new());
}

#[test]
fn a_message_waits_for_those_of_its_incident_and_for_no_other() {
    let desk = Desk::new();
    let (mut outbox, _) = desk.open("boot-1");
    post_to(&mut outbox, "mail", &[of("a", 0, Raised), of("a", 1, Resolved), of("b", 0, Raised)]);
    let first = outbox.due("mail", at(0)).unwrap().unwrap();
    outbox.failed(first.id, "no", at(60)).unwrap();
    assert_eq!(keys(&mut outbox, "mail", 0), ["b-0"]);
    assert_eq!(outbox.waiting().unwrap()[0].due, at(60), "and nobody looks before that");
    let again = outbox.due("mail", at(60)).unwrap().unwrap();
    assert_eq!((again.notice.key().as_str(), again.attempts), ("a-0", 1));
    assert_eq!(keys(&mut outbox, "mail", 60), ["a-0", "a-1"]);
}

#[test]
fn a_message_that_is_decided_twice_is_one() {
    let desk = Desk::new();
    let (mut outbox, _) = desk.open("boot-1");
    post_to(&mut outbox, "mail", &[of("a", 0, Raised)]);
    post_to(&mut outbox, "mail", &[of("a", 0, Raised)]);
    assert_eq!(keys(&mut outbox, "mail", 0), ["a-0"]);
}

#[test]
fn repetitions_that_nobody_took_are_one() {
    let desk = Desk::new();
    let (mut outbox, _) = desk.open("boot-1");
    let all: Vec<Notice> = (1..9).map(|sequence| of("a", sequence, Repeated)).collect();
    post_to(&mut outbox, "mail", &[&[of("a", 0, Raised)], all.as_slice(), &[of("a", 9, Resolved)]].concat());
    assert_eq!(keys(&mut outbox, "mail", 0), ["a-0", "a-8", "a-9"]);
}

#[test]
fn what_is_too_old_and_what_is_for_nobody_is_given_up() {
    let desk = Desk::new();
    let (mut outbox, _) = desk.open("boot-1");
    post_to(&mut outbox, "mail", &[of("a", 0, Raised)]);
    post_to(&mut outbox, "gone", &[of("a", 0, Raised)]);
    let given_up = |outbox: &mut Outbox, now| {
        let given_up = outbox.give_up(&["mail"], now).unwrap();
        given_up.into_iter().map(|due| due.channel).collect::<Vec<_>>()
    };
    assert_eq!(given_up(&mut outbox, at(0)), ["gone"]);
    assert_eq!(given_up(&mut outbox, at(EXPIRY.as_secs() - 1)), Vec::<String>::new());
    assert_eq!(given_up(&mut outbox, at(EXPIRY.as_secs())), ["mail"]);
}

#[test]
fn ages_begin_anew_with_another_boot() {
    let desk = Desk::new();
    let (mut outbox, _) = desk.open("boot-1");
    post_to(&mut outbox, "mail", &[of("a", 0, Raised)]);
    let due = outbox.due("mail", at(0)).unwrap().unwrap();
    outbox.failed(due.id, "no", at(9_000)).unwrap();
    drop(outbox);
    let (mut outbox, held) = Outbox::open(&desk.path(), "boot-2", Duration::from_secs(7)).unwrap();
    assert_eq!(held.boot, Boot::Another);
    assert_eq!(outbox.due("mail", Duration::from_secs(7)).unwrap().unwrap().notice.key(), "a-0");
    assert_eq!(outbox.give_up(&["mail"], Duration::from_secs(8)).unwrap(), []);
}

#[test]
fn a_damaged_outbox_is_moved_aside_and_a_newer_one_is_left_alone() {
    let desk = Desk::new();
    std::fs::write(desk.path(), "this is no database, and it is long enough to be read as one: ".repeat(99)).unwrap();
    let (mut outbox, _) = desk.open("boot-1");
    post_to(&mut outbox, "mail", &[of("a", 0, Raised)]);
    assert!(desk.path().with_file_name("alerts.sqlite.damaged-1").exists());
    outbox.database.pragma_update(None, "user_version", 99).unwrap();
    drop(outbox);
    let refused = Outbox::open(&desk.path(), "boot-1", at(0)).unwrap_err();
    assert!(refused.to_string().contains("has version 99"), "{refused}");
}
