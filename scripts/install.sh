#!/bin/sh
# Installs exitpool as a service, or upgrades it in place: `install.sh --help`.
#
# A second run with the same options changes nothing. An upgrade closes no connection: tors run on while the daemon is
# started anew. What is installed where stands in scripts/installed-files.
set -eu
umask 022
export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"

# The tor that exitpool needs, and whose signatures are believed where the Tor Project's packages are asked for.
# Sources: https://support.torproject.org/apt/tor-deb-repo/, https://support.torproject.org/rpm/tor-rpm-install/
OLDEST_TOR=0.4.8
DEB_KEY=A3C4F0F979CAA22CDBA8F512EE8CBC9E886DDD89
RPM_KEY=999EC8E314BC8D46022D6C7DE217C30C3621CD35
DEB_KEYRING=/usr/share/keyrings/deb.torproject.org-keyring.gpg
DEB_LIST=/etc/apt/sources.list.d/exitpool-torproject.list
RPM_KEY_FILE=/etc/pki/rpm-gpg/RPM-GPG-KEY-torproject
RPM_REPO=/etc/yum.repos.d/exitpool-torproject.repo

# The desired state that is made where none is named, and what this script has to remember for uninstall.sh.
OWN_SOURCE=/etc/exitpool/pool
PACKAGES=/etc/exitpool/installed-packages
DROP_IN=/etc/systemd/system/exitpool.service.d/50-install.conf

usage() {
    cat <<'END'
Installs exitpool as a service, or upgrades it in place.

  install.sh [OPTIONS]

Where the desired state comes from; with neither, and none set up before, everything is installed and nothing started:
  --source PATH|URL        the file or repository to follow, for the daemon's --source
  --pool-size N            make a first desired state in /etc/exitpool/pool, with a pool of N nodes, and follow it;
  --countries CODES          from which countries they leave, as in de,nl
  --socks-allow NETWORKS     who else may use them; without, this host alone
  --panel-allow NETWORKS     who else may look at the status page
  --set NAME=VALUE         another option of the daemon, by its variable, as EXITPOOL_LISTEN=0.0.0.0:8080 (docs/cli.md)

The firewall:
  --driver DRIVER          auto, nftables, iptables, ufw, firewalld or none: what a first desired state says, and whether the
                           firewall helper is needed
  --no-firewall            the same as --driver none

What is installed:
  --binary FILE            the program; else the one beside this script, else target/release/exitpool
  --tor-project            take tor from the Tor Project's packages instead of the distribution's
  --no-packages            install no package: what is needed is there, or comes from elsewhere

  --no-start               start and enable nothing
  --dry-run                say what would be done, and change nothing
END
}

source='' pool_size='' countries='' socks_allow='' panel_allow='' settings='' driver='' binary=''
tor_project='' with_packages=yes start=yes dry=''
changed='' new_program='' new_units='' new_settings='' newline='
'

say() { echo "install: $*"; }
fail() {
    echo "install: $*" >&2
    exit 1
}
wrong() {
    echo "install: $*; see --help" >&2
    exit 64
}

# Does something and says so first; with --dry-run it is only said.
step() {
    changed=yes
    echo "  ${dry:+would }$1"
    shift
    [ -n "$dry" ] || "$@"
}

has() { command -v "$1" >/dev/null 2>&1; }
is_booted() { [ -d /run/systemd/system ]; }

options() {
    while [ $# -gt 0 ]; do
        case $1 in
        --source | --pool-size | --countries | --socks-allow | --panel-allow | --set | --driver | --binary)
            [ $# -gt 1 ] || wrong "$1 needs a value"
            case $1 in
            --source) source=$2 ;;
            --pool-size) pool_size=$2 ;;
            --countries) countries=$2 ;;
            --socks-allow) socks_allow=$2 ;;
            --panel-allow) panel_allow=$2 ;;
            --set) settings="$settings$2$newline" ;;
            --driver) driver=$2 ;;
            --binary) binary=$2 ;;
            esac
            shift
            ;;
        --no-firewall) driver=none ;;
        --tor-project) tor_project=yes ;;
        --no-packages) with_packages='' ;;
        --no-start) start='' ;;
        --dry-run) dry=yes ;;
        --help | -h)
            usage
            exit
            ;;
        *) wrong "there is no option $1" ;;
        esac
        shift
    done
}

# Refuses what cannot work before anything is changed.
check_options() {
    case $driver in
    '' | auto | nftables | iptables | ufw | firewalld | none) ;;
    *) wrong "there is no driver $driver" ;;
    esac
    if [ -n "$source" ]; then
        [ -z "$pool_size$countries$socks_allow$panel_allow" ] ||
            wrong "with --source, sizes, countries and whitelists stand in that desired state"
        case $source in
        *://*@*) case ${source#*://} in *:*@*)
            fail "a secret in --source would be seen by everybody: write it into a file of root's, as docs/git.md says"
            ;; esac ;;
        *://* | *@*:*) ;;
        /*) [ -e "$source" ] || fail "$source is not there" ;;
        *) wrong "--source is no URL, and no path from the root: $source" ;;
        esac
        case $source in
        /home | /home[/]* | /root | /root[/]*) fail "the service sees nothing below /home and /root (ProtectHome=): move $source to /srv" ;;
        esac
    elif [ -z "$pool_size" ]; then
        [ -z "$countries$socks_allow$panel_allow" ] || wrong "these belong to a first desired state: say its --pool-size"
    fi
    printf %s "$settings" | while IFS= read -r setting; do
        printf '%s\n' "$setting" | grep -qE '^EXITPOOL_[A-Z0-9_]+=[^"\\]*$' ||
            wrong "--set takes EXITPOOL_NAME=VALUE, without quotes and backslashes: $setting"
    done
    case $source in *[\"\\]*) wrong "--source has a quote or a backslash" ;; esac
    [ -n "$dry" ] || [ "$(id -u)" -eq 0 ] || fail "only root can install a service: run it by sudo, or say --dry-run"
    if has dpkg-query && [ "$(dpkg-query -W -f '${db:Status-Status}' exitpool 2>/dev/null)" = installed ]; then
        fail "exitpool is installed as a Debian package: upgrade it by apt, or remove it first by: apt purge exitpool"
    fi
}

# Says a field of os-release.
# shellcheck disable=SC2034 # read by name
os() (
    ID='' ID_LIKE='' VERSION_ID='' VERSION_CODENAME=''
    # shellcheck source=/dev/null
    [ ! -r /etc/os-release ] || . /etc/os-release
    eval "printf %s \"\${$1:-}\""
)

find_out_family() {
    case " $(os ID) $(os ID_LIKE) " in
    *' debian '* | *' ubuntu '*) family=deb ;;
    *' fedora '* | *' rhel '* | *' centos '*) family=rpm ;;
    *)
        family=all
        [ -z "$with_packages" ] ||
            fail "the distribution \`$(os ID)\` is not known here: install tor $OLDEST_TOR or newer with its GeoIP files," \
                "nftables, git, ssh and setpriv, and say --no-packages"
        ;;
    esac
}

find_program() {
    root=$(cd "$(dirname "$0")" && pwd)
    [ -e "$root/scripts/installed-files" ] || root=$(dirname "$root")
    [ -e "$root/scripts/installed-files" ] || fail "scripts/installed-files is not beside $0: unpack the whole release"
    if [ -z "$binary" ]; then
        for binary in "$root/exitpool" "$root/target/release/exitpool"; do
            [ ! -f "$binary" ] || break
        done
    fi
    [ -f "$binary" ] || fail "there is no program $binary: name one by --binary, or make it: cargo build --release"
    # Also where it was built for another machine, or against a newer libc.
    version=$("$binary" --version) || fail "$binary does not run on this host"
}

# ---- packages ---------------------------------------------------------------------------------------------------

has_package() {
    case $family in
    deb) [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ] ;;
    rpm) rpm -q "$1" >/dev/null 2>&1 ;;
    esac
}

install_packages() {
    case $family in
    deb)
        apt-get update -q
        DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"
        ;;
    rpm) "$(if has dnf; then echo dnf; else echo yum; fi)" install -y "$@" ;;
    esac
}

# Installs what is missing of some packages, and remembers what that was.
need() {
    missing=''
    for package in "$@"; do
        has_package "$package" || missing="$missing $package"
    done
    [ -n "$missing" ] || return 0
    # shellcheck disable=SC2086 # names of packages
    step "install the packages:$missing" install_packages $missing || fail "these packages cannot be had:$missing"
    # shellcheck disable=SC2086
    [ -n "$dry" ] || remember $missing
}

remember() {
    mkdir -p /etc/exitpool
    printf '%s\n' "$@" >>"$PACKAGES"
}

packages() {
    [ -n "$with_packages" ] || return 0
    had_tor=''
    ! has_package tor || had_tor=yes
    [ -z "$tor_project" ] || "tor_project_$family"
    [ "$family" != rpm ] || extra_packages
    case $family in
    deb) set -- tor tor-geoipdb nftables git openssh-client util-linux ;;
    rpm) set -- tor nftables git openssh-clients util-linux ;;
    esac
    [ "$driver" != iptables ] || set -- "$@" iptables ipset
    need "$@"
    tor_service
}

# tor is not in RHEL's own packages, nor in those of its like, but in EPEL.
extra_packages() {
    [ "$(os ID)" != fedora ] || return 0
    ! has_package tor || return 0
    if [ "$(os ID)" != rhel ]; then
        need epel-release
    elif ! has_package epel-release; then
        major=$(os VERSION_ID)
        step 'install EPEL, which has tor' install_packages \
            "https://dl.fedoraproject.org/pub/epel/epel-release-latest-${major%%.*}.noarch.rpm"
        [ -n "$dry" ] || remember epel-release
    fi
}

# exitpool starts its own tors. The distribution's is left alone, unless it came just now.
tor_service() {
    has systemctl || return 0
    if [ -z "$had_tor" ]; then
        if is_booted; then now=--now; else now=''; fi
        # shellcheck disable=SC2086
        step "keep the package's own tor from running: exitpool starts its tors itself" systemctl disable -q $now tor
    elif is_booted && systemctl is-active -q tor; then
        say "this host's own tor.service runs and is left alone: it is in the way only where a pool has its port, 9050"
    fi
}

check_tor() {
    if ! has tor; then
        [ -n "$dry" ] || fail "there is no tor in PATH: install $OLDEST_TOR or newer"
        return 0
    fi
    found=$(tor --version | sed -n 's/^Tor version \([0-9.]*[0-9]\).*/\1/p')
    oldest=$(printf '%s\n' "$found" "$OLDEST_TOR" | sort -V | head -n 1)
    [ "$oldest" = "$OLDEST_TOR" ] || [ -n "$dry" ] ||
        fail "tor $found is too old: $OLDEST_TOR or newer is needed; --tor-project takes it from the Tor Project's packages"
}

# ---- the Tor Project's own packages -----------------------------------------------------------------------------

# Whether a file has one OpenPGP key, and that of a fingerprint.
is_key() {
    gpg --batch --show-keys --with-colons "$1" |
        awk -F: -v want="$2" '$1 == "pub" { keys++ } $1 == "fpr" && !first { first = $10 } END { exit keys != 1 || first != want }'
}

tor_project_deb() {
    [ ! -e "$DEB_LIST" ] || return 0
    codename=$(os VERSION_CODENAME)
    [ -n "$codename" ] || fail "this release has no name in /etc/os-release: the Tor Project's packages go by that"
    need ca-certificates gpg
    step "believe packages that are signed by $DEB_KEY, and ask deb.torproject.org for tor" add_deb "$codename"
    need tor tor-geoipdb deb.torproject.org-keyring
    [ -z "$had_tor" ] || step 'take the newest tor' install_packages tor tor-geoipdb
}

add_deb() {
    key=$(mktemp)
    /usr/lib/apt/apt-helper download-file "https://deb.torproject.org/torproject.org/$DEB_KEY.asc" "$key"
    is_key "$key" "$DEB_KEY" || fail "deb.torproject.org gave another key than $DEB_KEY: nothing of it is believed"
    gpg --batch --yes --dearmor --output "$DEB_KEYRING" "$key"
    chmod 644 "$DEB_KEYRING"
    rm -f "$key"
    echo "deb [arch=$(dpkg --print-architecture) signed-by=$DEB_KEYRING] https://deb.torproject.org/torproject.org $1 main" \
        >"$DEB_LIST"
}

tor_project_rpm() {
    [ ! -e "$RPM_REPO" ] || return 0
    extra_packages
    need gnupg2
    case $(os ID) in fedora) kind=fedora ;; *) kind=centos ;; esac
    step "believe packages that are signed by $RPM_KEY, and ask rpm.torproject.org for tor" add_rpm "$kind"
    if [ -n "$had_tor" ]; then
        step 'take the newest tor' "$(if has dnf; then echo dnf; else echo yum; fi)" upgrade -y tor
    fi
}

add_rpm() {
    key=$(mktemp)
    curl -sSf --proto '=https' -o "$key" "https://rpm.torproject.org/$1/public_gpg.key"
    is_key "$key" "$RPM_KEY" || fail "rpm.torproject.org gave another key than $RPM_KEY: nothing of it is believed"
    install -D -m 644 "$key" "$RPM_KEY_FILE"
    rm -f "$key"
    cat >"$RPM_REPO" <<END
[exitpool-torproject]
name=tor from the Tor Project
baseurl=https://rpm.torproject.org/$1/\$releasever/\$basearch
enabled=1
gpgcheck=1
gpgkey=file://$RPM_KEY_FILE
cost=100
END
}

# ---- files, users, directories ----------------------------------------------------------------------------------

# Puts a file in place at once: who reads it meanwhile, or runs it, has the old one or the new one.
put() {
    mkdir -p "$(dirname "$2")"
    cp -p "$1" "$2.exitpool-new"
    chown 0:0 "$2.exitpool-new"
    mv -f "$2.exitpool-new" "$2"
}

files() {
    stage=$(mktemp -d)
    trap 'rm -rf "$stage"' EXIT
    sh "$root/scripts/stage.sh" "$family" "$binary" "$stage"
    list=$stage.list
    (cd "$stage" && find . -type f | sort | cut -c 2-) >"$list"
    pages=''
    while read -r place; do
        ! is_same "$stage$place" "$place" || continue
        case $place in
        /usr/bin/exitpool) new_program=yes ;;
        /usr/lib/systemd/* | /usr/lib/sysusers.d/* | /usr/lib/tmpfiles.d/*) new_units=yes ;;
        /usr/share/man/*)
            pages="$pages $place"
            continue
            ;;
        esac
        step "install $place" put "$stage$place" "$place"
    done <"$list"
    # shellcheck disable=SC2086 # names of files of ours
    [ -z "$pages" ] || step "install $(echo $pages | wc -w) manual pages in /usr/share/man/man1" put_all $pages
    # Those of verbs that are gone.
    for page in /usr/share/man/man1/exitpool*.1; do
        [ ! -e "$page" ] || [ -e "$stage$page" ] || step "remove $page" rm -f "$page"
    done
    rm -rf "$stage" "$list"
}

put_all() {
    for each in "$@"; do
        put "$stage$each" "$each"
    done
}

is_same() {
    [ -f "$2" ] && cmp -s "$1" "$2" && [ "$(stat -c %a "$1")" = "$(stat -c %a "$2")" ]
}

user_and_directories() {
    if [ -n "$new_units" ] || ! getent passwd exitpool >/dev/null; then
        if has systemd-sysusers; then
            step 'make the user exitpool' systemd-sysusers exitpool.conf
        else
            step 'make the user exitpool' useradd --system --user-group --no-create-home --home-dir /var/lib/exitpool \
                --shell /usr/sbin/nologin exitpool
        fi
    fi
    if [ -n "$new_units" ] || [ ! -d /var/lib/exitpool ] || [ ! -d /run/exitpool ]; then
        if has systemd-tmpfiles; then
            step 'make its directories, such as /var/lib/exitpool' systemd-tmpfiles --create exitpool.conf
        else
            step 'make its directories, such as /var/lib/exitpool' \
                install -d -m 700 -o exitpool -g exitpool /var/lib/exitpool /run/exitpool /var/backups/exitpool
        fi
    fi
}

# ---- the desired state and the daemon's options -----------------------------------------------------------------

desired_state() {
    [ -n "$pool_size" ] || return 0
    source=$OWN_SOURCE
    if [ -e "$OWN_SOURCE/pool.yaml" ]; then
        say "$OWN_SOURCE/pool.yaml is there already, and stays as it is: change it by commit"
        return 0
    fi
    set -- init --yes "$OWN_SOURCE" --pool-size "$pool_size"
    [ -z "$countries" ] || set -- "$@" --countries "$countries"
    [ -z "$socks_allow" ] || set -- "$@" --socks-allow "$socks_allow"
    [ -z "$panel_allow" ] || set -- "$@" --panel-allow "$panel_allow"
    [ -z "$driver" ] || set -- "$@" --driver "$driver"
    step "make a first desired state: exitpool $*" first_desired_state "$@"
}

first_desired_state() {
    mkdir -p /etc/exitpool
    "$binary" "$@" -o json >/dev/null
}

# A repository of somebody else is read by git, and by exitpool, only where the host says that it may be.
repository() {
    [ -d "$source" ] || [ -n "$dry$pool_size" ] || return 0
    case $source in /*) ;; *) return 0 ;; esac
    [ ! -d "$source" ] || [ "$(stat -c %U "$source")" != exitpool ] || return 0
    ! git config --system --get-all safe.directory 2>/dev/null | grep -qxF "$source" || return 0
    step "let git read $source as the user exitpool: safe.directory in /etc/gitconfig" \
        git config --system --add safe.directory "$source"
}

check_readable() {
    case $source in /*) ;; *) return 0 ;; esac
    [ -z "$dry" ] || return 0
    setpriv --reuid=exitpool --regid=exitpool --clear-groups test -r "$source" ||
        fail "the user exitpool cannot read $source: give it the right to, and run this again"
}

# Options with a percent sign would be specifiers of systemd's.
daemon_options() {
    [ -n "$source$settings" ] || return 0
    wished=$(mktemp)
    {
        echo "# Written by install.sh. Yours go into another file: systemctl edit exitpool"
        echo '[Service]'
        printf '%s' "${source:+EXITPOOL_SOURCE=$source$newline}$settings" | sed 's/%/%%/g; s/.*/Environment="&"/'
    } >"$wished"
    chmod 644 "$wished"
    if ! is_same "$wished" "$DROP_IN"; then
        new_settings=yes
        step "write $DROP_IN" put "$wished" "$DROP_IN"
    fi
    rm -f "$wished"
}

# ---- the service ------------------------------------------------------------------------------------------------

is_helper_needed() {
    case $driver in
    ufw | firewalld | iptables) return 0 ;;
    nftables | none) return 1 ;;
    esac
    grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf || { has systemctl && is_booted && systemctl is-active -q firewalld; }
}

helper() {
    is_helper_needed && has systemctl && [ -n "$start" ] || return 0
    [ ! -d /etc/firewalld ] || [ -d /etc/firewalld/policies ] ||
        step 'make /etc/firewalld/policies' install -d -m 750 /etc/firewalld/policies
    switch_on exitpool-firewall-helper.socket
    ! is_booted || systemctl is-active -q exitpool-firewall-helper.socket ||
        step 'start exitpool-firewall-helper.socket' systemctl start exitpool-firewall-helper.socket
}

switch_on() {
    systemctl is-enabled -q "$1" 2>/dev/null || step "enable $1" systemctl enable -q "$1"
}

has_source() {
    [ -n "$source" ] || grep -qs '^Environment=.*EXITPOOL_SOURCE=' /etc/systemd/system/exitpool.service.d/*.conf
}

service() {
    if ! has systemctl; then
        say "there is no systemd on this host: nothing is started; the daemon is \`exitpool run\`"
        return 0
    fi
    if is_booted && [ -n "$new_units$new_settings" ]; then
        step 'let systemd read its units again' systemctl daemon-reload
    fi
    helper
    if ! has_source; then
        say 'nothing is started: say where the desired state comes from, by --source, or --pool-size for a first one'
    elif [ -z "$start" ]; then
        say 'nothing is started, as --no-start says; later: systemctl enable --now exitpool'
    else
        switch_on exitpool.service
        [ "$driver" = none ] || switch_on exitpool-guard.service
        is_booted || say 'no systemd is running here: nothing is started before the next boot'
        ! is_booted || start_or_restart
    fi
}

start_or_restart() {
    if ! systemctl is-active -q exitpool; then
        step 'start exitpool' systemctl start exitpool || fail 'it does not start: journalctl -u exitpool says why'
    elif [ -n "$new_program$new_units$new_settings" ]; then
        step 'start the daemon anew; its tors, and connections through them, run on' systemctl restart exitpool ||
            fail 'the daemon does not start, and its tors run on: journalctl -u exitpool says why'
    fi
    [ -z "$new_program$new_units" ] || ! systemctl is-active -q exitpool-firewall-helper.service ||
        step 'start the firewall helper anew' systemctl restart exitpool-firewall-helper.service
}

options "$@"
check_options
find_out_family
find_program
say "$version for $(os ID) $(os VERSION_ID)${dry:+; this is a dry run, and changes nothing}"
packages
check_tor
files
user_and_directories
desired_state
[ -z "$source" ] || repository
daemon_options
[ -z "$source" ] || check_readable
service
[ -n "$changed" ] || say 'everything is as it should be: nothing was changed'
! has_source || say 'how it goes: exitpool status; what is in the way: exitpool doctor'
