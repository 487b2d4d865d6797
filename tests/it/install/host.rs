//! A host from its first installation to its last trace.

use crate::roots::{Machine, Root};
use crate::support::eventually;

use super::{RELEASE, changed, debian, packed, said};

const NOTHING: &str = "install: everything is as it should be: nothing was changed\n";
const GONE: &str = "uninstall: nothing of it is left on this host, but what the log has\n";

fn install(root: &Root, options: &str) -> crate::roots::Ran {
    root.sh(&format!("sh {RELEASE}/install.sh {options}"))
}

#[test]
fn a_host_has_after_uninstalling_what_it_had_before() {
    let Some(root) = debian() else { return };
    let before = root.files();
    refuses_what_cannot_work(&root);
    let options = "--pool-size 3 --countries de,us --set EXITPOOL_LISTEN=127.0.0.1:8081";
    let would = said(&install(&root, &format!("{options} --dry-run")), 0);
    for step in [
        "install /usr/bin/exitpool",
        "make the user exitpool",
        "enable exitpool.service",
        "enable exitpool-guard.service",
        "manual pages",
    ] {
        assert!(would.lines().any(|line| line.starts_with("  would ") && line.contains(step)), "{step}: {would}");
    }
    assert_eq!(changed(&before, &root), Vec::<String>::new(), "a dry run changes nothing");

    let did = said(&install(&root, options), 0);
    assert!(did.contains("no systemd is running here: nothing is started before the next boot"), "{did}");
    let installed = root.files();
    let again = said(&install(&root, options), 0);
    assert!(again.contains(NOTHING), "{again}");
    assert!(said(&install(&root, ""), 0).contains(NOTHING), "what was set up stays");
    assert_eq!(changed(&installed, &root), Vec::<String>::new());
    works_as_the_daemons_user(&root);

    // Another program, and a page of a verb that is gone.
    root.sh(&format!("printf x >>{RELEASE}/exitpool; touch /usr/share/man/man1/exitpool-gone.1")).ok();
    let upgraded = said(&install(&root, ""), 0);
    let steps: Vec<&str> = upgraded.lines().filter(|line| line.starts_with("  ")).collect();
    assert_eq!(steps, ["  install /usr/bin/exitpool", "  remove /usr/share/man/man1/exitpool-gone.1"]);

    let installed = root.files();
    let uninstall = |options: &str| root.sh(&format!("sh /usr/share/exitpool/uninstall.sh {options}"));
    assert!(said(&uninstall("--dry-run"), 0).contains("  would remove the user exitpool"));
    assert_eq!(changed(&installed, &root), Vec::<String>::new(), "a dry run changes nothing");
    said(&uninstall("--keep-data"), 0);
    root.sh("test -d /etc/exitpool/pool/.git; test -d /var/lib/exitpool; ! test -e /usr/bin/exitpool").ok();
    said(&install(&root, options), 0);
    // Somebody has started something as the daemon's user.
    root.sh("setpriv --reuid=exitpool --regid=exitpool --clear-groups sleep 1000 >/dev/null 2>&1 & echo $! >/tmp/pid")
        .ok();
    let left = said(&uninstall(""), 1);
    assert!(left.contains("left on this host:\n  the process ") && left.contains("sleep 1000"), "{left}");
    assert!(left.ends_with("  the user exitpool\n  the group exitpool\n"), "{left}");
    root.sh("kill -KILL $(cat /tmp/pid)").ok();
    assert!(said(&root.sh(&format!("sh {RELEASE}/uninstall.sh")), 0).contains(GONE));
    let is_ours = |line: &String| line.contains(&format!("{RELEASE}/exitpool"));
    let left: Vec<String> = changed(&before, &root).into_iter().filter(|line| !is_ours(line)).collect();
    assert_eq!(left, Vec::<String>::new());
}

/// Nothing is changed before everything that can be known has been looked at.
fn refuses_what_cannot_work(root: &Root) {
    let before = root.files();
    root.write("/usr/local/bin/tor", "#!/bin/sh\necho 'Tor version 0.4.7.16.'\n");
    root.sh("chmod +x /usr/local/bin/tor; cd /home; mkdir pool").ok();
    for (options, code, told) in [
        ("", 1, "tor 0.4.7.16 is too old: 0.4.8 or newer is needed; --tor-project takes it from"),
        ("--sauce /srv", 64, "there is no option --sauce; see --help"),
        ("--source", 64, "--source needs a value"),
        ("--source pool.yaml", 64, "is no URL, and no path from the root"),
        ("--source /srv/none", 1, "/srv/none is not there"),
        ("--source $(cd /home; pwd)/pool", 1, "pool to /srv"),
        ("--source https://ada:hunter2@git.example.org/pool.git", 1, "a secret in --source would be seen"),
        ("--source /srv --pool-size 3", 64, "stand in that desired state"),
        ("--countries de", 64, "say its --pool-size"),
        ("--driver pf", 64, "there is no driver pf"),
        ("--set 'EXITPOOL_LISTEN=\"x\"'", 64, "without quotes"),
        ("--binary /etc/fstab", 1, "/etc/fstab does not run on this host"),
        ("--binary /etc/none", 1, "there is no program /etc/none"),
    ] {
        let refused = said(&install(root, options), code);
        assert!(refused.contains(told), "{options}: {refused}");
    }
    root.sh("rm /usr/local/bin/tor; cd /home; rmdir pool").ok();
    assert_eq!(changed(&before, root), Vec::<String>::new());
    let user = root.sh(&format!("setpriv --reuid=1 sh {RELEASE}/install.sh"));
    assert!(said(&user, 1).contains("only root can install a service"));
}

fn works_as_the_daemons_user(root: &Root) {
    let user = "HOME=/var/lib/exitpool setpriv --reuid=exitpool --regid=exitpool --clear-groups";
    let valid = root.sh(&format!("{user} exitpool validate --source /etc/exitpool/pool"));
    assert!(said(&valid, 0).contains("pool.yaml is valid: 1 pools, 3 nodes"));
    let options = root.sh("cat /etc/systemd/system/exitpool.service.d/50-install.conf").ok();
    assert!(options.contains("\nEnvironment=\"EXITPOOL_SOURCE=/etc/exitpool/pool\"\n"), "{options}");
    assert!(options.contains("\nEnvironment=\"EXITPOOL_LISTEN=127.0.0.1:8081\"\n"), "{options}");
    root.sh("bash -n /usr/share/bash-completion/completions/exitpool").ok();
    root.sh("exitpool scale pool 4 --file /etc/exitpool/pool/pool.yaml --commit").ok();
    root.sh("cd /etc/exitpool/pool; git reset -q --hard HEAD^").ok();
}

/// The tors of the pool, by their numbers; not those that are only asked for their version, or what they think of a file.
fn tors(machine: &Machine<'_>) -> Vec<String> {
    let listed = machine.sh("pgrep -u exitpool -f '^[^ ]*tor --defaults-torrc ' || true").ok();
    listed.split_whitespace().map(str::to_owned).collect()
}

#[track_caller]
fn wait_for_tors(machine: &Machine<'_>, count: usize) -> Vec<String> {
    let found = eventually(|| Some(tors(machine)).filter(|tors| tors.len() == count));
    found.unwrap_or_else(|| panic!("{}", machine.sh("journalctl --no-pager -u exitpool -n 40").stdout))
}

fn daemon(machine: &Machine<'_>) -> String {
    machine.sh("systemctl show --property=MainPID --value exitpool").ok()
}

#[test]
fn an_upgrade_of_a_running_host_ends_no_tor_and_a_package_does_the_same() {
    let Some(root) = debian() else { return };
    root.copy_in(&packed(".deb"), "/srv/exitpool.deb");
    let Some(machine) = root.boot() else { return };
    let install = |options: &str| machine.sh(&format!("sh {RELEASE}/install.sh {options}"));
    let before = root.files();

    let did = said(&install("--pool-size 2 --driver nftables"), 0);
    assert!(did.contains("  start exitpool\n"), "{did}");
    assert!(did.contains("this host's own tor.service runs and is left alone"), "{did}");
    let (started, first) = (wait_for_tors(&machine, 2), daemon(&machine));
    machine.sh("nft list table inet exitpool >/dev/null; systemctl is-enabled exitpool").ok();
    assert!(said(&install("--pool-size 2 --driver nftables"), 0).contains(NOTHING));

    machine.sh(&format!("printf x >>{RELEASE}/exitpool")).ok();
    let upgraded = said(&install(""), 0);
    assert!(
        upgraded.contains("  start the daemon anew; its tors, and connections through them, run on\n"),
        "{upgraded}"
    );
    assert_ne!(daemon(&machine), first);
    assert_eq!(tors(&machine), started, "an upgrade ends no tor");
    assert!(said(&install(""), 0).contains(NOTHING));
    assert!(said(&machine.sh("sh /usr/share/exitpool/uninstall.sh"), 0).contains(GONE));
    assert_eq!(tors(&machine), Vec::<String>::new());
    let is_ours = |line: &String| line.contains(&format!("{RELEASE}/exitpool"));
    let left: Vec<String> = changed(&before, &root).into_iter().filter(|line| !is_ours(line)).collect();
    assert_eq!(left, Vec::<String>::new());

    let before = root.files();
    machine.sh("dpkg -i /srv/exitpool.deb").ok();
    assert!(said(&install(""), 1).contains("is installed as a Debian package: upgrade it by apt"));
    assert!(said(&machine.sh("sh /usr/share/exitpool/uninstall.sh"), 1).contains("apt purge exitpool"));
    let state = machine.sh("systemctl is-active exitpool; systemctl is-enabled exitpool").stdout;
    assert_eq!(state.trim(), "inactive", "nothing is started by a package");
    machine.sh(SET_UP).ok();
    let (started, first) = (wait_for_tors(&machine, 1), daemon(&machine));
    machine.sh("dpkg -i /srv/exitpool.deb; dpkg --verify exitpool").ok();
    assert_ne!(daemon(&machine), first);
    assert_eq!(tors(&machine), started, "an upgrade ends no tor");
    machine.sh("dpkg --remove exitpool; ! nft list table inet exitpool 2>/dev/null; test -d /var/lib/exitpool").ok();
    assert_eq!(tors(&machine), Vec::<String>::new());
    machine.sh("dpkg --purge exitpool; rm /etc/gitconfig").ok();
    assert_eq!(changed(&before, &root), Vec::<String>::new());
}

/// What the documentation says for a host on which the package is installed.
const SET_UP: &str = "
exitpool init --yes /etc/exitpool/pool --pool-size 1
git config --system --add safe.directory /etc/exitpool/pool
mkdir /etc/systemd/system/exitpool.service.d
printf '[Service]\\nEnvironment=EXITPOOL_SOURCE=/etc/exitpool/pool\\n' >/etc/systemd/system/exitpool.service.d/override.conf
systemctl daemon-reload
systemctl enable --now exitpool";
