use std::collections::BTreeSet;

use jiff::Timestamp;

use super::*;
use crate::desired::ReconcilePolicy;
use crate::plan::{Deletions, Suspended};

fn revision(digit: char) -> Revision {
    Revision::of_commit("main", &digit.to_string().repeat(40)).unwrap()
}

fn says(new_commits: NewCommits) -> Desired {
    Desired { reconcile: ReconcilePolicy { new_commits, ..ReconcilePolicy::default() }, ..Desired::default() }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_000_000 + seconds).unwrap()
}

fn suspension(until: i64) -> Suspension {
    Suspension { reason: "moving racks".to_owned(), by: "ada".to_owned(), since: at(0), until: at(until) }
}

fn mark(digit: char) -> Mark {
    Mark { revision: revision(digit), by: "ada".to_owned(), at: at(0) }
}

/// Decides on revision `b` while `a` is in force; the file in force says the first word, the offered one the second.
fn decided(in_force: NewCommits, offered: NewCommits, orders: &Orders, asked: Option<char>) -> Decision {
    let (a, b, asked) = (revision('a'), revision('b'), asked.map(revision));
    let (in_force, offered) = (says(in_force), says(offered));
    decide(&Situation {
        offered: Version { revision: &b, desired: &offered },
        in_force: Some(Version { revision: &a, desired: &in_force }),
        asked: asked.as_ref(),
        orders,
    })
}

use NewCommits::{Auto, Manual};

#[test]
fn the_file_in_force_says_whether_a_new_revision_waits() {
    let orders = Orders::default();
    let table = [
        (Auto, Auto, None, Decision::TakeUp),
        (Auto, Manual, None, Decision::TakeUp),
        (Manual, Auto, None, Decision::Leave(Why::Manual)),
        (Manual, Auto, Some('b'), Decision::TakeUp),
        (Manual, Auto, Some('c'), Decision::Leave(Why::Manual)),
    ];
    for (in_force, offered, asked, decision) in table {
        assert_eq!(decided(in_force, offered, &orders, asked), decision, "{in_force:?} {offered:?} {asked:?}");
    }
}

#[test]
fn the_first_revision_says_itself_whether_it_waits() {
    let (b, orders) = (revision('b'), Orders::default());
    for (new_commits, decision) in [(Auto, Decision::TakeUp), (Manual, Decision::Leave(Why::Manual))] {
        let desired = says(new_commits);
        let offered = Version { revision: &b, desired: &desired };
        assert_eq!(decide(&Situation { offered, in_force: None, asked: None, orders: &orders }), decision);
        let again = Situation { offered, in_force: Some(offered), asked: None, orders: &orders };
        assert_eq!(decide(&again), Decision::Keep);
    }
}

#[test]
fn a_suspended_host_takes_nothing_up_whoever_asks() {
    let orders = Orders { host: Some(suspension(60)), ..Orders::default() };
    for asked in [None, Some('b')] {
        assert_eq!(decided(Auto, Auto, &orders, asked), Decision::Leave(Why::Suspended));
    }
    let pool = Orders { pools: [("eu".parse().unwrap(), suspension(60))].into(), ..Orders::default() };
    assert_eq!(decided(Auto, Auto, &pool, None), Decision::TakeUp, "the other pools follow");
}

#[test]
fn f17_a_revision_that_was_rolled_back_is_not_taken_again_and_a_newer_one_is() {
    let mut orders = Orders::default();
    orders.mark(mark('b'));
    assert_eq!(decided(Auto, Auto, &orders, None), Decision::Leave(Why::RolledBack));
    assert_eq!(decided(Auto, Auto, &orders, Some('b')), Decision::TakeUp, "an operator may insist");
    orders.forgive(&revision('b'));
    orders.mark(mark('c'));
    assert_eq!(decided(Auto, Auto, &orders, None), Decision::TakeUp);
}

#[test]
fn going_back_skips_what_was_marked_as_bad() {
    let history: Vec<Revision> = "abcd".chars().map(revision).collect();
    let mut orders = Orders::default();
    assert_eq!(before(&history, &revision('d'), &orders), Some(&revision('c')));
    orders.mark(mark('c'));
    assert_eq!(before(&history, &revision('d'), &orders), Some(&revision('b')));
    assert_eq!(before(&history, &revision('a'), &orders), None);
    assert_eq!(before(&history, &revision('e'), &orders), Some(&revision('d')), "its own entry may be lost");
}

#[test]
fn a_revision_is_named_in_full_or_by_its_commit() {
    let commit = revision('a');
    assert!(is_named(&commit, &commit.to_string()) && is_named(&commit, &"a".repeat(40)));
    assert!(!is_named(&commit, &"a".repeat(39)) && !is_named(&commit, "main") && !is_named(&commit, ""));
    let file = Revision::of_file(&[7; 32]);
    assert!(is_named(&file, &file.to_string()) && !is_named(&file, &"07".repeat(32)));
}

#[test]
fn an_order_is_for_one_revision() {
    let mut orders = Orders { may_delete: Some(revision('a')), ..Orders::default() };
    orders.confirm(&revision('a'), BTreeSet::from(["eu-1".parse().unwrap()]));
    orders.confirm(&revision('a'), BTreeSet::from(["eu-2".parse().unwrap()]));
    let mandate = orders.mandate(&revision('a'));
    assert_eq!((mandate.deletions, mandate.confirmed.len()), (Deletions::Allowed, 2));
    let other = orders.mandate(&revision('b'));
    assert_eq!((other.deletions, other.confirmed.len()), (Deletions::Limited, 0));
    orders.confirm(&revision('b'), BTreeSet::from(["eu-3".parse().unwrap()]));
    assert_eq!(orders.mandate(&revision('b')).confirmed.len(), 1, "what was confirmed before is used up");
}

#[test]
fn a_reason_is_one_line() {
    assert_eq!(orders::reason(" moving racks \n").unwrap(), "moving racks");
    for bad in ["", "  ", "two\nlines", "a\u{1b}[31m", &"x".repeat(201)] {
        assert!(orders::reason(bad).is_err(), "{bad:?}");
    }
}

#[test]
fn suspensions_end_by_themselves() {
    let mut orders = Orders { host: Some(suspension(60)), ..Orders::default() };
    orders.pools.insert("eu".parse().unwrap(), suspension(30));
    assert_eq!(orders.mandate(&revision('a')).suspended, Suspended::Everything);
    assert_eq!(orders.next_end(), Some(at(30)));
    assert_eq!(orders.expire(at(29)), Vec::<String>::new());
    assert_eq!(orders.expire(at(30)), ["the time is over for which pool eu was suspended"]);
    assert_eq!(orders.next_end(), Some(at(60)));
    assert_eq!(orders.expire(at(61)).len(), 1);
    assert_eq!(orders.mandate(&revision('a')).suspended, Suspended::Nothing);
}
