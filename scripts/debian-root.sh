#!/usr/bin/env bash
# Makes target/debian-root, a small Debian of this host's release, for tests that install into a root and boot it.
# Does nothing where it is there already, as this script makes it. Tests write into overlays over it, never into it.
set -euo pipefail
cd "$(dirname "$0")/.."
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# What a host has before exitpool is installed: a service manager, the programs that the README asks for, and sshd.
packages=(
    ca-certificates curl dbus git iproute2 ipset iptables nftables openssh-client openssh-server openssl procps systemd systemd-sysv
    tor tor-geoipdb util-linux
)
root=target/debian-root
stamp=target/debian-root.stamp
release=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
wanted="$release $(sha256sum <"$0")"
if [ -d "$root/usr" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

# The program under test is built for this host's C library, so the root is of the same release.
mirror=$(apt-get indextargets --no-release-info --format '$(REPO_URI) $(RELEASE)' 'Identifier: Packages' 2>/dev/null |
    awk -v release="$release" '$2 == release && $1 ~ /debian/ { print $1; exit }')
if [ -z "$release" ] || [ -z "$mirror" ]; then
    echo "debian-root: this host has no apt source of a Debian release: tests that boot a Debian cannot run here" >&2
    exit 1
fi

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
mkdir -p target
# It is made under a name of its own, and renamed once it is whole.
making=$(mktemp -d "$PWD/target/debian-root.making.XXXXXX")
log=$making.log
trap '"${as_root[@]}" rm -rf --one-file-system "$making"; rm -f "$log"' EXIT
echo "setup: making a Debian ($release) for the tests in $root" >&2
for pause in 5 30 0; do
    if "${as_root[@]}" debootstrap --variant=minbase --include="$(IFS=,; echo "${packages[*]}")" "$release" "$making" \
        "$mirror" >"$log" 2>&1; then
        break
    fi
    tail -n 5 "$log" >&2
    [ "$pause" != 0 ] || exit 1
    # A mirror that does not answer is asked again, from the beginning.
    "${as_root[@]}" find "$making" -mindepth 1 -xdev -delete
    sleep "$pause"
done
"${as_root[@]}" chroot "$making" apt-get clean
"${as_root[@]}" chmod 755 "$making"
rm -f "$stamp"
# Where it is a link, the link alone goes.
"${as_root[@]}" rm -rf --one-file-system "$root"
"${as_root[@]}" mv --no-target-directory "$making" "$root"
echo "$wanted" >"$stamp"
