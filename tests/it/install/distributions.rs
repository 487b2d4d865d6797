//! Distributions whose packages are not to be had here: each is asked in its own words, which a stand-in writes down.

use crate::roots::Root;

use super::{RELEASE, debian, said};

/// Package managers that install everything, and write down what they were asked; with `/tmp/fingerprint`, a gpg that
/// finds that key.
const STAND_INS: &str = r#"
cat >/usr/local/bin/stand-in <<'END'
#!/bin/sh
name=${0##*/}
case $name:$* in
rpm:-q*) grep -qx "$2" /tmp/installed ;;
dpkg-query:-S*) exit 1 ;;
dpkg-query:*) for last; do :; done; ! grep -qx "$last" /tmp/installed || echo installed ;;
gpg:*--show-keys*) printf 'pub:x\nfpr:::::::::%s:\n' "$(cat /tmp/fingerprint)" ;;
gpg:*) echo "$name" "$*" | sed 's,/tmp/tmp[^ ]*,KEY,' >>/tmp/calls; for last; do :; done; cp "$last" /usr/share/keyrings/deb.torproject.org-keyring.gpg ;;
*)
    echo "$name $*" | sed 's,/tmp/tmp[^ ]*,KEY,' >>/tmp/calls
    case $name in curl | apt-helper) exit ;; esac
    for word; do case $word in -* | install | update | upgrade) ;; *) echo "$word" >>/tmp/installed ;; esac; done
    ;;
esac
END
chmod +x /usr/local/bin/stand-in
for name in $1; do ln -sf stand-in "/usr/local/bin/$name"; done
ln -sf /usr/local/bin/stand-in /usr/lib/apt/apt-helper
"#;

/// Installs on what says to be another distribution, and gives what its programs were asked.
#[track_caller]
fn asked(root: &Root, os_release: &str, options: &str) -> Vec<String> {
    root.write("/etc/os-release", os_release);
    root.sh("rm -f /tmp/calls; : >/tmp/installed; : >/tmp/calls").ok();
    let run = |options: &str| root.sh(&format!("sh {RELEASE}/install.sh {options}"));
    said(&run(&format!("{options} --dry-run")), 0);
    assert_eq!(root.sh("cat /tmp/calls").ok(), "", "a dry run asks nobody for anything");
    said(&run(options), 0);
    let calls = root.sh("cat /tmp/calls").ok();
    let again = said(&run(options), 0);
    assert!(again.contains("nothing was changed"), "{again}");
    assert_eq!(root.sh("cat /tmp/calls").ok(), calls, "the second run asks for nothing");
    let packages = root.sh("sort /etc/exitpool/installed-packages").ok();
    assert!(packages.lines().any(|line| line == "tor"), "what was installed is remembered: {packages}");
    said(&root.sh(&format!("sh {RELEASE}/uninstall.sh")), 0);
    calls.lines().map(str::to_owned).collect()
}

#[test]
fn each_is_asked_in_its_own_words() {
    let Some(root) = debian() else { return };
    root.run(["sh", "-euc", STAND_INS, "make", "dnf rpm apt-get dpkg-query gpg curl"]).ok();

    let fedora = "ID=fedora\nVERSION_ID=43\n";
    let rpms = "dnf install -y tor nftables git openssh-clients util-linux";
    assert_eq!(asked(&root, fedora, ""), [rpms]);
    let rocky = "ID=\"rocky\"\nID_LIKE=\"rhel centos fedora\"\nVERSION_ID=\"9.6\"\n";
    assert_eq!(
        asked(&root, rocky, "--driver iptables"),
        ["dnf install -y epel-release".to_owned(), format!("{rpms} iptables ipset"),]
    );
    let rhel = "ID=\"rhel\"\nID_LIKE=\"fedora\"\nVERSION_ID=\"10.1\"\n";
    let epel = "dnf install -y https://dl.fedoraproject.org/pub/epel/epel-release-latest-10.noarch.rpm";
    assert_eq!(asked(&root, rhel, ""), [epel, rpms]);
    let ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n";
    let debs = "apt-get install -y -q --no-install-recommends tor tor-geoipdb nftables git openssh-client util-linux";
    assert_eq!(asked(&root, ubuntu, ""), ["apt-get update -q", debs]);

    let unknown = "ID=alpine\n";
    root.write("/etc/os-release", unknown);
    let refused = said(&root.sh(&format!("sh {RELEASE}/install.sh")), 1);
    assert!(refused.contains("`alpine` is not known here") && refused.contains("say --no-packages"), "{refused}");
    root.sh(&format!(": >/tmp/calls; sh {RELEASE}/install.sh --no-packages; ! test -s /tmp/calls")).ok();
    said(&root.sh(&format!("sh {RELEASE}/uninstall.sh")), 0);
}

#[test]
fn the_tor_projects_packages_are_believed_by_one_key() {
    let Some(root) = debian() else { return };
    root.run(["sh", "-euc", STAND_INS, "make", "dnf rpm apt-get dpkg-query gpg curl"]).ok();
    let (deb, rpm) = ("A3C4F0F979CAA22CDBA8F512EE8CBC9E886DDD89", "999EC8E314BC8D46022D6C7DE217C30C3621CD35");
    let ubuntu = "ID=ubuntu\nID_LIKE=debian\nVERSION_ID=\"24.04\"\nVERSION_CODENAME=noble\n";
    let fedora = "ID=fedora\nVERSION_ID=43\n";
    for os_release in [ubuntu, fedora] {
        root.write("/etc/os-release", os_release);
        root.write("/tmp/fingerprint", "0000000000000000000000000000000000000000");
        root.sh(": >/tmp/installed; mkdir -p /etc/yum.repos.d").ok();
        let refused = said(&root.sh(&format!("sh {RELEASE}/install.sh --tor-project")), 1);
        assert!(
            refused.contains("gave another key than") && refused.contains("nothing of it is believed"),
            "{refused}"
        );
        root.sh("! ls /etc/apt/sources.list.d/exitpool* /etc/yum.repos.d/exitpool* /usr/bin/exitpool 2>/dev/null").ok();
    }

    root.write("/tmp/fingerprint", deb);
    let keyring = "/usr/share/keyrings/deb.torproject.org-keyring.gpg";
    let calls = asked(&root, ubuntu, "--tor-project");
    assert_eq!(
        calls,
        [
            "apt-get update -q".to_owned(),
            "apt-get install -y -q --no-install-recommends ca-certificates gpg".to_owned(),
            format!("apt-helper download-file https://deb.torproject.org/torproject.org/{deb}.asc KEY"),
            format!("gpg --batch --yes --dearmor --output {keyring} KEY"),
            "apt-get update -q".to_owned(),
            "apt-get install -y -q --no-install-recommends tor tor-geoipdb deb.torproject.org-keyring".to_owned(),
            "apt-get update -q".to_owned(),
            "apt-get install -y -q --no-install-recommends nftables git openssh-client util-linux".to_owned(),
        ]
    );
    root.write("/tmp/fingerprint", rpm);
    let calls = asked(&root, fedora, "--tor-project");
    assert_eq!(
        calls,
        [
            "dnf install -y gnupg2",
            "curl -sSf --proto =https -o KEY https://rpm.torproject.org/fedora/public_gpg.key",
            "dnf install -y tor nftables git openssh-clients util-linux",
        ]
    );
    root.sh(&format!("! ls {keyring} /etc/apt/sources.list.d/exitpool* /etc/yum.repos.d/exitpool* 2>/dev/null")).ok();
}
