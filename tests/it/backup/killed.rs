//! Both verbs are killed at every moment.

use std::fs;
use std::os::unix::process::ExitStatusExt as _;

use super::{command, exitpool, first_state, text, tree, verified};

/// Far more moments than there are.
const MOST_MOMENTS: usize = 100;

/// Says whether it was killed there; it has ended well where it has no such moment.
fn is_killed(command: &mut std::process::Command, work: &str, moment: usize) -> bool {
    let output = command.env("EXITPOOL_DEBUG_KILL", format!("{work}:{moment}")).output().unwrap();
    match output.status.signal() {
        Some(9) => true,
        _ => {
            assert!(output.status.success(), "{work}:{moment}: {}", String::from_utf8_lossy(&output.stderr));
            false
        }
    }
}

#[test]
fn a_backup_that_is_killed_leaves_the_one_before_and_nothing_of_itself() {
    let place = tempfile::tempdir().unwrap();
    let (state, made) = (first_state(place.path()), place.path().join("backups/made"));
    fs::create_dir(place.path().join("backups")).unwrap();
    exitpool(&state, &["backup", &text(&made)]).done();
    let before = fs::read(&made).unwrap();
    let mut killed = 0;
    while is_killed(&mut command(&state, &["backup", &text(&made)]), "backup", killed + 1) {
        killed += 1;
        assert!(killed < MOST_MOMENTS);
        assert_eq!(fs::read(&made).unwrap(), before, "moment {killed}");
    }
    assert!(killed > 10, "{killed} moments");
    assert_ne!(fs::read(&made).unwrap(), before);
    verified(&text(&made), &[]);
    // The last one has swept what the others left.
    assert_eq!(fs::read_dir(place.path().join("backups")).unwrap().count(), 1);
}

#[test]
fn a_restore_that_is_killed_leaves_the_old_state_or_the_new_one() {
    let place = tempfile::tempdir().unwrap();
    let (state, made) = (first_state(place.path()), text(&place.path().join("made")));
    exitpool(&state, &["backup", &made]).done();
    fs::write(state.join("orders.json"), "{}").unwrap();
    fs::create_dir(state.join("instances/us-9")).unwrap();
    fs::write(state.join("instances/us-9/state"), "the guards of before\n").unwrap();
    let old = tree(&state);
    let (mut before, mut after) = (0, 0);
    for moment in 1.. {
        assert!(moment < MOST_MOMENTS);
        let home = place.path().join(format!("host-{moment}"));
        super::copy(&state, &home);
        if !is_killed(&mut command(&home, &["restore", &made, "--replace"]), "restore", moment) {
            break;
        }
        // Whoever takes the directory next finishes it or undoes it, as the daemon does.
        exitpool(&home, &["backup", &text(&place.path().join("next"))]).done();
        let mut found = tree(&home);
        found.remove("backup.json");
        let mut wished = old.clone();
        wished.remove("backup.json");
        if found == wished {
            before += 1;
            assert_eq!(after, 0, "moment {moment}: the old state after the new one was agreed");
        } else {
            after += 1;
            assert!(!found.contains_key("instances/us-9/state") && found["orders.json"] != b"{}", "moment {moment}");
            assert!(found.keys().all(|name| !name.starts_with(".restore")), "moment {moment}: {:?}", found.keys());
            let row = exitpool(&home, &["audit", "--limit", "1"]).done();
            assert!(row.contains("the state is restored"), "moment {moment}: {row}");
            let aside = fs::read_dir(&home).unwrap().map(|entry| entry.unwrap().path());
            let aside = aside.into_iter().find(|path| text(path).contains("before-restore-")).unwrap();
            let mut kept = tree(&aside);
            kept.remove("backup.json");
            assert_eq!(kept, wished, "moment {moment}: what was there is not kept");
        }
        fs::remove_dir_all(&home).unwrap();
    }
    assert!(before >= 3 && after >= 10, "{before} {after}");
}

/// What was agreed and cannot be done, since a part has become a mount meanwhile, is undone.
#[test]
fn a_restore_that_cannot_be_finished_is_undone() {
    let Some(_) = crate::netns::Netns::new() else { return };
    let place = tempfile::tempdir().unwrap();
    let (state, made) = (first_state(place.path()), text(&place.path().join("made")));
    exitpool(&state, &["backup", &made]).done();
    fs::write(state.join("orders.json"), "{}").unwrap();
    let mut old = tree(&state);
    let is_there = is_killed(&mut command(&state, &["restore", &made, "--replace"]), "restore", 4);
    assert!(is_there && state.join(".restore-agreed").exists());
    let program = env!("CARGO_BIN_EXE_exitpool");
    let script = format!(
        "mount --bind {0}/history {0}/history; {program} backup {0}.made --state-dir {0}; code=$?; umount {0}/history; \
         mount --bind {0}/history {0}/history; {program} restore {made} --replace --state-dir {0} && code=0; exit $code",
        state.display()
    );
    let output = std::process::Command::new("unshare").args(["--mount", "sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot finish the interrupted restore"), "{said}");
    assert!(said.contains("history is a mount of its own: unmount it first"), "{said}");
    let mut now = tree(&state);
    now.remove("backup.json");
    old.remove("backup.json");
    assert_eq!(now, old, "the state of before, whole");
}
