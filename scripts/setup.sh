#!/usr/bin/env bash
# Installs what is missing: `setup.sh run` what the demo needs, `setup.sh test` what the tests need as well,
# `setup.sh bench` what the benches need.
# Debian's packages by apt; elsewhere it says what to install by hand.
set -euo pipefail

declare -A package=(
    [cc]=gcc [make]=make [git]=git [tor]=tor [tor-gencert]=tor [nft]=nftables [ip]=iproute2
    [setpriv]=util-linux [curl]=curl
)
commands=(cc make git tor tor-gencert nft ip setpriv curl)
if [ "${1:-run}" = test ]; then
    package[chromium]=chromium package[strace]=strace package[ping]=iputils-ping
    package[systemd-analyze]=systemd package[sshd]=openssh-server package[ssh-keygen]=openssh-client
    package[lighttpd]=lighttpd package[openssl]=openssl package[unshare]=util-linux
    package[iptables-nft]=iptables package[iptables-legacy]=iptables package[ipset]=ipset package[ufw]=ufw
    package[firewalld]=firewalld package[dbus-daemon]=dbus package[nmap]=nmap
    package[proxychains4]=proxychains4 package[faketime]=faketime package[node]=nodejs package[npm]=npm
    package[nginx]=nginx-light package[caddy]=caddy package[strip]=binutils
    package[podman]=podman package[buildah]=buildah package[crun]=crun package[conmon]=conmon package[tini]=tini
    package[age]=age package[age-keygen]=age
    package[prometheus-alertmanager]=prometheus-alertmanager package[promtool]=prometheus package[python3]=python3
    package[debootstrap]=debootstrap package[systemd-nspawn]=systemd-container package[nsenter]=util-linux
    commands+=(chromium strace ping systemd-analyze sshd ssh-keygen lighttpd openssl unshare)
    commands+=(iptables-nft iptables-legacy ipset ufw firewalld dbus-daemon nmap proxychains4 faketime node npm)
    commands+=(nginx caddy podman buildah crun conmon tini strip)
    package[groff]=groff-base package[script]=bsdutils package[shellcheck]=shellcheck
    commands+=(prometheus-alertmanager promtool python3 age age-keygen debootstrap systemd-nspawn nsenter)
    commands+=(groff script shellcheck)
fi
if [ "${1:-run}" = bench ]; then
    package[wrk]=wrk package[nginx]=nginx-light
    commands+=(wrk nginx)
fi

# What drives the browser in the tests; a registry that does not answer is asked again.
install_driver() {
    [ "$1" = test ] || return 0
    cd "$(dirname "$0")/../tests/browser"
    ! cmp --silent package-lock.json node_modules/.installed || return 0
    for pause in 2 10 30 0; do
        if npm ci --silent && cp package-lock.json node_modules/.installed; then return 0; fi
        echo "setup: npm could not install what drives the browser" >&2
        sleep "$pause"
    done
    return 1
}

export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"
missing=()
for command in "${commands[@]}"; do
    command -v "$command" >/dev/null || missing+=("${package[$command]}")
done
[ -r /usr/share/tor/geoip ] || missing+=(tor-geoipdb)
[ "${1:-run}" != test ] || [ -e /usr/lib/lighttpd/mod_openssl.so ] || missing+=(lighttpd-mod-openssl)
# Debian's interpreter makes no environments without it; scripts/python-tools.sh needs some.
[ "${1:-run}" != test ] || /usr/bin/python3 -c 'import ensurepip' 2>/dev/null || missing+=(python3-venv)
if [ "${1:-run}" = test ]; then
    # Neither is a command.
    /usr/bin/python3 -c 'import aiosmtpd' 2>/dev/null || missing+=(python3-aiosmtpd)
    compgen -G '/usr/lib/*/faketime/libfaketimeMT.so.1' >/dev/null || missing+=(libfaketime)
fi

if ! command -v cargo >/dev/null; then
    echo "setup: cargo is missing: install Rust (https://rustup.rs), and run this again" >&2
    exit 1
fi
if [ "${#missing[@]}" -eq 0 ]; then
    install_driver "${1:-run}"
    exit
fi

mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)
if ! command -v apt-get >/dev/null; then
    echo "setup: missing: ${missing[*]}: install them with this distribution's package manager" >&2
    exit 1
fi
as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo)
echo "setup: installing ${missing[*]}" >&2
# Debian's tor package would start a tor of its own, and ufw's, firewalld's, nginx's, Caddy's and prometheus' their services: the pool's are
# started by exitpool alone, and no firewall but those in the tests' namespaces is.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ] && [ ! -d /run/systemd/system ]; then
    printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee "$policy" >/dev/null
    "${as_root[@]}" chmod 755 "$policy"
    trap '"${as_root[@]}" rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
"${as_root[@]}" apt-get update -qq
"${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
install_driver "${1:-run}"
