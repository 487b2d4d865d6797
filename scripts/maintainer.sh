#!/bin/sh
# The Debian package's postinst, prerm and postrm, one file under three names: package.sh puts it there.
#
# Nothing is started by installing it: there is no pool before somebody says where the desired state comes from. A daemon
# that runs is started anew by an upgrade, and its tors run on. Removing the package ends the nodes and the guard;
# purging it removes the state, the settings and the user as well.
set -eu

is_booted() { [ -d /run/systemd/system ]; }
reload() { ! is_booted || systemctl daemon-reload; }

case ${0##*[./]}:$1 in
postinst:configure)
    systemd-sysusers exitpool.conf
    systemd-tmpfiles --create exitpool.conf
    reload
    if is_booted && [ -n "${2:-}" ]; then
        systemctl try-restart exitpool.service exitpool-firewall-helper.service
    elif [ -z "${2:-}" ]; then
        echo 'exitpool: nothing is started before it is said where the desired state comes from: systemctl edit exitpool'
        echo 'exitpool: a first one is made by: exitpool init'
    fi
    ;;
prerm:remove)
    exitpool down
    for unit in /usr/lib/systemd/system/exitpool*; do
        unit=${unit##*/}
        ! is_booted || systemctl stop "$unit"
        [ "$(systemctl is-enabled "$unit" 2>/dev/null)" != enabled ] || systemctl disable -q "$unit"
    done
    ;;
postrm:remove)
    reload
    ;;
postrm:purge)
    rm -rf /run/exitpool /var/lib/exitpool /var/backups/exitpool /etc/exitpool
    rm -rf /etc/systemd/system/exitpool*.service.d /etc/systemd/system/exitpool*.socket.d \
        /etc/systemd/system/exitpool*.timer.d /etc/systemd/system/exitpool*.slice.d
    ! getent passwd exitpool >/dev/null || userdel exitpool
    reload
    ;;
esac
