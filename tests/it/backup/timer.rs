//! The backup's unit and timer under a booted systemd.

use std::path::Path;

use crate::roots::Root;

/// It runs with the few rights that it has, as the daemon's user; a failure is seen, and what was there is kept.
#[test]
fn the_timer_makes_backups_under_a_booted_systemd() {
    let Some(root) = Root::overlay("back") else { return };
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.copy_in(Path::new(env!("CARGO_BIN_EXE_exitpool")), "/usr/bin/exitpool");
    for unit in ["exitpool-backup.service", "exitpool-backup.timer"] {
        root.copy_in(&here.join("systemd").join(unit), &format!("/usr/lib/systemd/system/{unit}"));
    }
    root.copy_in(&here.join("systemd/exitpool.sysusers"), "/usr/lib/sysusers.d/exitpool.conf");
    root.copy_in(&here.join("systemd/exitpool.tmpfiles"), "/usr/lib/tmpfiles.d/exitpool.conf");
    root.copy_in(&here.join(super::FIRST), "/var/lib/exitpool");
    root.sh(
        "systemd-sysusers exitpool.conf; chown -R exitpool: /var/lib/exitpool; chmod -R u=rwX,go= /var/lib/exitpool; \
         mkdir -p /etc/systemd/system/timers.target.wants; \
         ln -s /usr/lib/systemd/system/exitpool-backup.timer /etc/systemd/system/timers.target.wants/",
    )
    .ok();
    let Some(machine) = root.boot() else { return };
    let timers = machine.sh("systemctl list-timers --no-pager exitpool-backup.timer").ok();
    assert!(timers.contains("exitpool-backup.service"), "{timers}");
    let made = || machine.sh("ls -A /var/backups/exitpool").ok();
    machine.sh("systemctl start exitpool-backup").ok();
    let first = made();
    assert!(first.lines().count() == 1 && first.ends_with(".tar.gz\n"), "{first}");
    machine.sh("exitpool backup verify /var/backups/exitpool/*").ok();
    let owner = machine.sh("stat --format='%U %a' /var/backups/exitpool/*").ok();
    assert_eq!(owner, "exitpool 600\n");
    let note = machine.sh("cat /var/lib/exitpool/backup.json").ok();
    assert!(note.contains("\"succeeded\":\"2") && note.contains("\"failed\":null"), "{note}");
    let log = || machine.sh("journalctl -u exitpool-backup --no-pager -o cat").ok();
    assert!(log().contains("is backed up to /var/backups/exitpool/"), "{}", log());

    // A disk without room: the unit fails, says why, and leaves what was there.
    machine
        .sh("mount -t tmpfs -o size=16k,mode=700 tmpfs /var/backups/exitpool; chown exitpool: /var/backups/exitpool")
        .ok();
    let failed = machine.sh("systemctl start exitpool-backup");
    assert_ne!(failed.code, Some(0));
    assert!(made().is_empty() && log().contains("make room, or name another place"), "{}{}", made(), log());
    let note = machine.sh("cat /var/lib/exitpool/backup.json").ok();
    assert!(note.contains("\"failed\":\"2"), "{note}");
    machine.sh("umount /var/backups/exitpool").ok();
    assert_eq!(made(), first);

    // Root restores, and what is restored is the daemon's user's and nobody else's.
    machine.sh("exitpool restore --replace /var/backups/exitpool/*").ok();
    let others = machine.sh("find /var/lib/exitpool ! -user exitpool -o ! -group exitpool -o -perm /077").ok();
    assert_eq!(others, "", "somebody else's, or open to others");
    machine.sh("runuser -u exitpool -- exitpool audit verify").ok();
    machine.sh("systemctl start exitpool-backup").ok();
    assert_eq!(made().lines().count(), 2);
}
