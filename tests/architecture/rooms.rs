//! The arrows of imports, and what only some rooms may do.

use std::collections::{BTreeMap, BTreeSet};

use super::none_of;
use super::rust::{Module, modules};

/// Rooms, and the rooms that each may know. A path of several parts is a room of its own within another.
///
/// The order is that of the arrows: a room knows only rooms that stand above it, so there is no way round in a circle.
const ROOMS: [(&str, &[&str]); 39] = [
    // What everything may know.
    ("error", &[]),
    ("sys", &["error"]),
    ("desired", &["error"]),
    // Secrets, read where the file says that they are.
    ("secret", &["desired"]),
    // Where log lines go, and which.
    ("log", &["error"]),
    // Who may ask how often, and who is locked out.
    ("gate", &["desired"]),
    // Tokens and lists: what may be had, and how it is written.
    ("export", &["desired"]),
    // The pure halves of tor and firewall: what is wanted, as values.
    ("tor::layout", &["desired"]),
    ("tor::geoip", &["desired"]),
    ("tor::options", &["desired"]),
    ("tor::relays", &["desired", "tor::options"]),
    ("tor::torrc", &["desired", "tor::layout", "tor::options"]),
    ("firewall::model", &["desired"]),
    // The snapshot and the decision. Neither can do anything.
    ("observe", &["desired", "tor::options", "tor::relays", "firewall::model"]),
    ("plan", &["desired", "observe", "tor::layout", "tor::relays", "tor::options", "tor::torrc", "firewall::model"]),
    // Who is in trouble, and what is tried next.
    ("health", &["desired", "observe", "plan"]),
    // Both on paper, to be planned for elsewhere.
    ("observe::snapshot", &["error", "desired", "observe", "plan", "tor::layout", "tor::options"]),
    // Which revision is in force, and what operators have said.
    ("rollout", &["desired", "observe", "plan"]),
    // When instances rotate, and how far each has come.
    ("rotation", &["desired", "observe", "plan"]),
    // The kernel's table of listening sockets, for the snapshot.
    ("observe::listeners", &["observe"]),
    // Those that touch one outside system each.
    ("tor", &["error", "sys", "desired", "observe", "tor::layout", "tor::geoip", "tor::relays", "tor::options"]),
    ("firewall", &["error", "sys", "desired", "observe", "firewall::model"]),
    ("source", &["error", "sys", "desired"]),
    ("audit", &["error", "sys", "desired", "export"]),
    // The snapshot is taken, the plan carried out, the outcome told.
    ("observe::collect", &["observe", "observe::listeners", "tor", "firewall", "firewall::model"]),
    // A change of the guard that is kept or taken back.
    ("trial", &["error", "sys", "desired", "observe", "plan", "firewall::model", "firewall", "observe::collect"]),
    ("apply", &["error", "plan", "tor", "firewall::model", "firewall", "trial"]),
    (
        "status",
        &[
            "error",
            "sys",
            "desired",
            "secret",
            "gate",
            "export",
            "observe",
            "plan",
            "health",
            "rollout",
            "rotation",
            "firewall::model",
        ],
    ),
    // Requests of our own, directly or through a node.
    ("web", &[]),
    ("probe", &["error", "sys", "desired", "health", "web"]),
    // What is worth telling people, and how it reaches them.
    ("alert", &["error", "sys", "desired", "secret", "plan", "rollout", "status", "web"]),
    // One pass.
    (
        "reconcile",
        &[
            "error",
            "sys",
            "desired",
            "tor::layout",
            "tor::options",
            "observe",
            "plan",
            "health",
            "rollout",
            "rotation",
            "observe::collect",
            "apply",
            "status",
        ],
    ),
    // The state directory: versions, who works with it, how it is replaced.
    ("state", &["error", "sys", "desired", "source", "audit", "alert"]),
    // Backups of it.
    ("backup", &["error", "sys", "desired", "export", "source", "audit", "alert", "reconcile", "state"]),
    // What stands alone: the network of the demo and the tests knows nothing of the pool.
    ("testnet", &["error", "desired"]),
    (
        "daemon",
        &[
            "error",
            "sys",
            "desired",
            "gate",
            "export",
            "observe",
            "plan",
            "rollout",
            "rotation",
            "tor::layout",
            "tor",
            "firewall",
            "source",
            "audit",
            "log",
            "apply",
            "status",
            "trial",
            "probe",
            "web",
            "alert",
            "reconcile",
            "state",
        ],
    ),
    // The demo plays with a network and a daemon that it starts as a visitor would.
    ("cli::demo", &["desired", "testnet", "daemon", "cli"]),
    // The doctor looks at what each outside system says, and at what the guard would be.
    (
        "cli::doctor",
        &[
            "error",
            "sys",
            "desired",
            "tor::geoip",
            "firewall::model",
            "observe",
            "tor",
            "firewall",
            "source",
            "reconcile",
            "cli",
        ],
    ),
    (
        "cli",
        &[
            "error",
            "sys",
            "desired",
            "gate",
            "export",
            "observe",
            "plan",
            "observe::snapshot",
            "observe::collect",
            "rollout",
            "tor",
            "firewall",
            "source",
            "audit",
            "log",
            "apply",
            "status",
            "trial",
            "reconcile",
            "testnet",
            "alert",
            "state",
            "backup",
            "daemon",
            "cli::demo",
            "cli::doctor",
        ],
    ),
];

/// Pure rooms: the same input gives the same output, and nothing happens.
const PURE: [&str; 13] = [
    "desired",
    "export",
    "gate",
    "firewall::model",
    "health",
    "observe",
    "observe::snapshot",
    "plan",
    "rollout",
    "rotation",
    "tor::layout",
    "tor::options",
    "tor::torrc",
];

/// What a pure room never says: doors to the machine, and clocks.
const IMPURE: [&str; 14] = [
    "tokio",
    "rustix",
    "std::fs",
    "std::process",
    "std::env",
    "std::thread",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "UnixStream",
    "SystemTime",
    "Instant::now",
    "Timestamp::now",
    "File::open",
];

/// What starts programs.
const STARTS: [&str; 1] = ["Command::new"];
/// Who may, and why.
const STARTERS: [(&str, &str); 6] = [
    ("src/sys/", "the door for everybody else: deadlines, whole output, errors that name the command"),
    ("src/tor/", "a tor outlives the daemon, in a session of its own; `tor --verify-config` has tor's environment"),
    ("src/trial/", "the fuse is this program itself, and outlives the daemon"),
    ("src/testnet", "its tors end with it, by a death pipe"),
    ("src/cli/demo/", "plays the operator: git, and the daemon itself"),
    ("src/source/", "git's transport needs an environment of its own, and a deadline over its children"),
];

/// What changes files.
const WRITES: [&str; 9] = [
    "fs::write",
    "File::create",
    "fs::create_dir",
    "fs::create_dir_all",
    "fs::remove_file",
    "fs::remove_dir",
    "fs::remove_dir_all",
    "fs::rename",
    "OpenOptions::new",
];
/// Who may, and why.
const WRITERS: [(&str, &str); 13] = [
    ("src/sys/", "the door for everybody else: whole files, replaced at once"),
    ("src/tor/", "torrc, lock and data directory of an instance, with the modes that tor insists on"),
    ("src/testnet", "the directory of its network, which goes with it"),
    ("src/cli/demo/", "the demo's repository, which goes with it"),
    ("src/audit/", "a broken trail, or its key, is put aside, never overwritten"),
    ("src/log/", "its own files, one after the other"),
    ("src/trial/", "its locks, and the file whose absence means that a change is kept"),
    ("src/daemon/", "its lock and its socket"),
    ("src/reconcile/memory.rs", "what was accepted and applied is forgotten by `down`"),
    ("src/reconcile/history.rs", "only the latest revisions are kept"),
    ("src/source/", "the clone and the ratchet"),
    ("src/state/", "all of a state directory is replaced by another one, and put aside"),
    ("src/backup/", "the backup itself, made beside its place, and what is taken out of one"),
];

/// The room of a path in the crate: the longest that is known.
fn room(path: &[String]) -> Option<&'static str> {
    let path = path.join("::");
    let holds = |room: &&str| path == **room || path.starts_with(&format!("{room}::"));
    ROOMS.iter().map(|(room, _)| *room).filter(holds).max_by_key(|room| room.len())
}

fn is_top(module: &Module) -> bool {
    module.path.is_empty()
}

#[test]
fn every_module_has_a_room_and_every_room_a_module() {
    let modules = modules();
    let without: Vec<String> = modules
        .iter()
        .filter(|module| !is_top(module) && room(&module.path).is_none())
        .map(|module| module.file.clone())
        .collect();
    none_of(&without, "Say in ROOMS what the new room may know, and in docs/architecture.md what lives there.");
    let held: BTreeSet<_> = modules.iter().filter_map(|module| room(&module.path)).collect();
    let empty: Vec<String> =
        ROOMS.iter().filter(|(room, _)| !held.contains(room)).map(|(room, _)| (*room).to_owned()).collect();
    none_of(&empty, "Nothing lives in these rooms: take them out of ROOMS.");
}

#[test]
fn an_arrow_of_imports_never_goes_round_in_a_circle() {
    // These are verbs, and use what verbs share.
    let within_a_room = |from: &str, to: &str| ["cli::demo", "cli::doctor"].contains(&from) && to == "cli";
    let place: BTreeMap<_, _> = ROOMS.iter().enumerate().map(|(at, (room, _))| (*room, at)).collect();
    let arrows = ROOMS.iter().flat_map(|(from, known)| known.iter().map(move |to| (*from, *to)));
    let back: Vec<String> = arrows
        .filter(|(from, to)| !within_a_room(from, to) && place.get(to).is_none_or(|to| *to >= place[from]))
        .map(|(from, to)| format!("{from} → {to}"))
        .collect();
    none_of(&back, "A room may know only rooms that stand above it in ROOMS.");
}

#[test]
fn rooms_know_only_what_they_may_know() {
    let modules = modules();
    let all: BTreeSet<_> = modules.iter().map(|module| module.path.clone()).collect();
    let mut found = BTreeSet::new();
    let mut used = BTreeSet::new();
    for module in modules.iter().filter(|module| !is_top(module)) {
        let Some(from) = room(&module.path) else { continue };
        let known = ROOMS.iter().find(|(room, _)| *room == from).unwrap().1;
        for (at, path) in module.imports(&all) {
            let Some(to) = room(&path).filter(|to| *to != from) else { continue };
            used.insert((from, to));
            let is_own_parts = to.starts_with(&format!("{from}::")) && !PURE.contains(&from);
            if !known.contains(&to) && !is_own_parts {
                found.insert(format!("{}:{} {from} → {}", module.file, module.line(at), path.join("::")));
            }
        }
    }
    let advice = "These rooms must not know each other (ROOMS says who may). Move the code to the room that it belongs \
                  to, or hand the value over as an argument.";
    none_of(&Vec::from_iter(found), advice);
    // Everything may know the lowest rooms, whether it does or not.
    let is_low = |room: &str| ["error", "sys", "desired"].contains(&room);
    let arrows = ROOMS.iter().flat_map(|(from, known)| known.iter().map(move |to| (*from, *to)));
    let unused = arrows.filter(|arrow| !used.contains(arrow) && !is_low(arrow.1));
    let unused: Vec<String> = unused.map(|(from, to)| format!("{from} → {to}")).collect();
    none_of(&unused, "No import needs these arrows any more: take them out of ROOMS.");
}

#[test]
fn what_is_pure_touches_nothing_and_knows_no_clock() {
    let modules = modules();
    let pure = modules.iter().filter(|module| room(&module.path).is_some_and(|room| PURE.contains(&room)));
    let found: Vec<String> = pure.flat_map(|module| said(module, &IMPURE)).collect();
    none_of(
        &found,
        "This room decides and does nothing. What it needs to know of the machine, it is given as a value.",
    );
}

/// The time of a trial runs on the clock since the boot, and waits on the one that only goes forward.
#[test]
fn a_trial_reads_no_clock_that_somebody_can_set() {
    let modules = modules();
    let in_a_trial =
        modules.iter().filter(|module| ["src/trial", "src/daemon/trying"].iter().any(|it| module.file.starts_with(it)));
    let found: Vec<String> =
        in_a_trial.flat_map(|module| said(module, &["SystemTime", "Timestamp", "Zoned"])).collect();
    none_of(
        &found,
        "Whoever sets the host's clock would keep a change of the firewall, or take it back: use sys::clock.",
    );
}

/// The room of alerts has doors as well, but what decides has none.
#[test]
fn what_is_told_is_decided_without_a_clock_and_a_door() {
    let modules = modules();
    let deciding = ["src/alert/engine", "src/alert/rules", "src/alert/facts", "src/alert/notice"];
    let deciding = modules.iter().filter(|module| deciding.iter().any(|it| module.file.starts_with(it)));
    let found: Vec<String> = deciding.flat_map(|module| said(module, &IMPURE)).collect();
    none_of(&found, "What is worth an alert follows from facts and a time that are handed in.");
}

#[test]
fn programs_are_started_through_the_doors() {
    let found = outside(&STARTS, &STARTERS);
    none_of(&found, "Use `sys::command`, which has a deadline; or add to STARTERS, with the reason.");
}

#[test]
fn files_are_changed_through_the_doors() {
    let found = outside(&WRITES, &WRITERS);
    none_of(&found, "Use `sys::files`, which replaces a file at once; or add to WRITERS, with the reason.");
}

#[test]
fn only_the_command_line_prints() {
    let modules = modules();
    let others = modules.iter().filter(|module| !module.file.starts_with("src/cli"));
    let found: Vec<String> = others.flat_map(|module| said(module, &["println", "eprintln", "dbg"])).collect();
    none_of(&found, "Log it (`tracing`), or return it: `cli/` prints.");
}

/// Where a thing is said outside the places that may.
fn outside(said_words: &[&str], places: &[(&str, &str)]) -> Vec<String> {
    let modules = modules();
    let others = modules.iter().filter(|module| !places.iter().any(|(place, _)| module.file.starts_with(place)));
    others.flat_map(|module| said(module, said_words)).collect()
}

/// Where a module says something, as whole words.
fn said(module: &Module, what: &[&str]) -> Vec<String> {
    let is_part = |it: Option<char>| it.is_some_and(|it| it.is_alphanumeric() || it == '_');
    let find = |it: &&str| {
        let places = module.code.match_indices(*it).map(|(at, _)| at);
        let len = it.len();
        let whole = places.filter(move |at| {
            let (before, behind) = (&module.code[..*at], &module.code[at + len..]);
            !is_part(before.chars().next_back()) && !is_part(behind.chars().next())
        });
        let it = (*it).to_owned();
        whole.map(move |at| format!("{}:{} {it}", module.file, module.line(at))).collect::<Vec<_>>()
    };
    what.iter().flat_map(find).collect()
}
