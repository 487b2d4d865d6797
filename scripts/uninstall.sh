#!/bin/sh
# Takes exitpool off this host: its nodes and its firewall guard, its files, its user. `uninstall.sh --help`.
#
# What was installed where stands in installed-files. Packages of the distribution stay, and are named.
set -eu
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

DATA='/run/exitpool /var/lib/exitpool /var/backups/exitpool /etc/exitpool'
PACKAGES=/etc/exitpool/installed-packages

usage() {
    cat <<'END'
Takes exitpool off this host: nodes, firewall guard, service, files, user, audit trail, and backups.

  uninstall.sh [--keep-data] [--dry-run]

  --keep-data      leave /var/lib/exitpool, /var/backups/exitpool, /etc/exitpool and the user exitpool
  --dry-run        say what would be done, and change nothing

Exits with 1 where anything is left, and names it.
END
}

keep='' dry=''
say() { echo "uninstall: $*"; }
fail() {
    echo "uninstall: $*" >&2
    exit 1
}
step() {
    echo "  ${dry:+would }$1"
    shift
    [ -n "$dry" ] || "$@"
}
has() { command -v "$1" >/dev/null 2>&1; }
is_booted() { [ -d /run/systemd/system ]; }

options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --keep-data) keep=yes ;;
        --dry-run) dry=yes ;;
        --help | -h)
            usage
            exit
            ;;
        *)
            echo "uninstall: there is no option $1; see --help" >&2
            exit 64
            ;;
        esac
        shift
    done
}

check() {
    [ -n "$dry" ] || [ "$(id -u)" -eq 0 ] || fail "only root can take a service away: run it by sudo, or say --dry-run"
    if has dpkg-query && [ "$(dpkg-query -W -f '${db:Status-Status}' exitpool 2>/dev/null)" = installed ]; then
        fail 'exitpool is installed as a Debian package: apt purge exitpool'
    fi
    here=$(cd "$(dirname "$0")" && pwd)
    for manifest in "$here/installed-files" "$here/scripts/installed-files"; do
        [ ! -r "$manifest" ] || break
    done
    [ -r "$manifest" ] || fail "installed-files is not beside $0"
    # It goes before its last reader.
    manifest=$(grep -v '^#' "$manifest")
    # What is named may be a pattern, and is one for what stands beside the units as well.
    patterns=$(printf '%s\n' "$manifest" | sed -n 's,^[^ ]* [^ ]* systemd/\([^ ]*\)  */usr/lib/systemd/system/$,\1,p')
    units='' drop_ins=''
    for pattern in $patterns; do
        for unit in /usr/lib/systemd/system/$pattern; do
            [ ! -e "$unit" ] || units="$units ${unit##*/}"
        done
        drop_ins="$drop_ins /etc/systemd/system/$pattern.d"
    done
}

# Every place of the list that is on this host; a pattern stands for several.
installed() {
    printf '%s\n' "$manifest" | while read -r _ _ file place; do
        case $place in */) place=$place${file##*/} ;; esac
        for each in $place; do
            [ -e "$each" ] || continue
            printf '%s\n' "$place"
            break
        done
    done
}

# The daemon's own options, where they were set, lead to its directories.
nodes_and_guard() {
    if [ ! -x /usr/bin/exitpool ] || { [ ! -d /run/exitpool ] && [ ! -d /var/lib/exitpool ]; }; then return 0; fi
    set -- exitpool down
    for setting in $(grep -hoE 'EXITPOOL_(STATE|RUNTIME)_DIR=[^" ]+' \
        /etc/systemd/system/exitpool.service.d/*.conf 2>/dev/null || true); do
        set -- "$setting" "$@"
    done
    step 'end all nodes, and remove the firewall guard: exitpool down' env "$@" ||
        fail 'nodes or the guard are left, so nothing was removed: see above'
}

service() {
    has systemctl || return 0
    for unit in $units; do
        ! is_booted || ! systemctl is-active -q "$unit" || step "stop $unit" systemctl stop "$unit"
        [ "$(systemctl is-enabled "$unit" 2>/dev/null)" != enabled ] || step "disable $unit" systemctl disable -q "$unit"
    done
}

files() {
    installed | while read -r place; do
        # shellcheck disable=SC2086 # a pattern
        step "remove $place" rm -f $place
    done
    for directory in /usr/share/exitpool /usr/share/doc/exitpool $drop_ins; do
        [ ! -d "$directory" ] || step "remove $directory" rm -rf "$directory"
    done
    # Those of shells that are not here, and were made for our completions.
    for directory in /usr/share/fish/vendor_completions.d /usr/share/fish /usr/share/zsh/site-functions \
        /usr/share/zsh/vendor-completions /usr/share/zsh; do
        [ -n "$dry" ] || rmdir "$directory" 2>/dev/null || true
    done
    ! is_booted || step 'let systemd read its units again' systemctl daemon-reload
    tor_project /etc/apt/sources.list.d/exitpool-torproject.list /usr/share/keyrings/deb.torproject.org-keyring.gpg
    tor_project /etc/yum.repos.d/exitpool-torproject.repo /etc/pki/rpm-gpg/RPM-GPG-KEY-torproject
}

# What --tor-project has added: where packages come from, and the key that is believed, unless that is a package's by now.
tor_project() {
    [ -e "$1" ] || return 0
    step "remove $1: tor gets no updates from there any more" rm -f "$1"
    ! has dpkg-query || ! dpkg-query -S "$2" >/dev/null 2>&1 || return 0
    step "remove $2" rm -f "$2"
}

# What install.sh let git read as another user.
repository() {
    has git && [ -z "$keep" ] || return 0
    for directory in $(git config --system --get-all safe.directory 2>/dev/null || true); do
        case "$directory $source" in
        "/etc/exitpool/pool "* | "$source $source") step "take $directory out of /etc/gitconfig" forget "$directory" ;;
        esac
    done
    [ -n "$dry" ] || [ ! -e /etc/gitconfig ] || [ -s /etc/gitconfig ] || rm -f /etc/gitconfig
}

forget() {
    pattern=$(printf %s "$1" | sed 's/[][\.*^$+?(){}|]/\\&/g')
    git config --system --unset-all safe.directory "^$pattern\$"
}

data() {
    packages=''
    [ ! -r "$PACKAGES" ] || packages=$(sort -u "$PACKAGES" | tr '\n' ' ')
    if [ -n "$keep" ]; then
        say 'kept, as --keep-data says: /var/lib/exitpool, /var/backups/exitpool, /etc/exitpool and the user exitpool'
        [ ! -d /run/exitpool ] || step 'remove /run/exitpool' rm -rf /run/exitpool
        return 0
    fi
    for directory in $DATA; do
        [ ! -d "$directory" ] || step "remove $directory" rm -rf "$directory"
    done
    ! getent passwd exitpool >/dev/null || step 'remove the user exitpool' userdel exitpool || true
    ! getent group exitpool >/dev/null || [ -n "$dry" ] || groupdel exitpool || true
}

# What is left of all that, one a line.
left() {
    installed
    for directory in /usr/share/exitpool /usr/share/doc/exitpool $drop_ins /run/exitpool; do
        [ ! -e "$directory" ] || echo "$directory"
    done
    for process in /proc/[0-9]*; do
        case $(stat -c %U "$process" 2>/dev/null):$(readlink "$process/exe" 2>/dev/null) in
        exitpool:* | *:/usr/bin/exitpool*)
            echo "the process ${process#/proc/}: $(tr '\0' ' ' <"$process/cmdline" 2>/dev/null)"
            ;;
        esac
    done
    ! has nft || ! nft list table inet exitpool >/dev/null 2>&1 || echo 'a firewall guard: table inet exitpool'
    [ -z "$keep" ] || return 0
    for directory in $DATA; do
        [ ! -e "$directory" ] || echo "$directory"
    done
    ! getent passwd exitpool >/dev/null || echo 'the user exitpool'
    ! getent group exitpool >/dev/null || echo 'the group exitpool'
}

options "$@"
check
source=$(sed -n 's/^Environment="EXITPOOL_SOURCE=\(.*\)"$/\1/p' \
    /etc/systemd/system/exitpool.service.d/50-install.conf 2>/dev/null || true)
nodes_and_guard
service
repository
files
data
[ -z "$packages" ] || say "packages that were installed for it stay; what nothing else needs can go: $packages"
[ -z "$dry" ] || exit 0
rest=$(left)
if [ -n "$rest" ]; then
    say 'left on this host:' >&2
    printf '%s\n' "$rest" | sed 's/^/  /' >&2
    exit 1
fi
say 'nothing of it is left on this host, but what the log has'
