#!/bin/sh
# Packs a release into target/package: an archive with install.sh, a Debian package, a bill of materials, checksums.
#
#   package.sh [--binary FILE] [--out DIRECTORY] [--fast]
#
#   --binary FILE      pack this program; without it, a release is built, with no path of this machine in it
#   --out DIRECTORY    where to; default target/package
#   --fast             compress little: for tests
#
# The same sources and the same program give the same bytes: docs/releasing.md. Times are SOURCE_DATE_EPOCH, or that of the
# newest commit.
set -eu
umask 022
export LC_ALL=C
cd "$(dirname "$0")/.."

binary='' out=target/package gzip=9 deb='-Zxz --threads-max=1'
while [ $# -gt 0 ]; do
    case $1 in
    --binary) binary=$2 && shift ;;
    --out) out=$2 && shift ;;
    --fast) gzip=1 deb='-Zgzip -z1' ;;
    *)
        sed -n 's/^# \{0,1\}//; 2,9p' "$0" >&2
        exit 64
        ;;
    esac
    shift
done

[ -n "${SOURCE_DATE_EPOCH:-}" ] || SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)
triple=$(rustc -vV | sed -n 's/^host: //p')
machine=${triple%%-*}

# What the compiler would write of this machine's paths, it writes as if everything lay below /build.
build() {
    cargo_home=${CARGO_HOME:-$HOME/.cargo} sysroot=$(rustc --print sysroot)
    flags="--remap-path-prefix=$PWD=/build/exitpool --remap-path-prefix=$cargo_home=/build/cargo"
    RUSTFLAGS="$flags --remap-path-prefix=$sysroot=/build/rust" \
        CFLAGS="-ffile-prefix-map=$cargo_home=/build/cargo -ffile-prefix-map=$PWD=/build/exitpool" \
        CARGO_INCREMENTAL=0 cargo build --release --locked --target-dir target/package-build
    binary=target/package-build/release/exitpool
}
[ -n "$binary" ] || build

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$out"

# ---- the archive: what install.sh needs, and the documentation ------------------------------------------------------
name=exitpool-$version-$machine-linux
release=$work/$name
mkdir -p "$release/scripts"
install -m 755 "$binary" "$release/exitpool"
cp -R README.md CHANGELOG.md LICENSE LICENSE-APACHE LICENSE-MIT systemd docs examples desired-state schema "$release"
cp scripts/install.sh scripts/uninstall.sh scripts/stage.sh scripts/installed-files "$release/scripts"
ln -s scripts/install.sh "$release/install.sh"
ln -s scripts/uninstall.sh "$release/uninstall.sh"
tar -c --format=gnu --sort=name --mtime="@$SOURCE_DATE_EPOCH" --owner=0 --group=0 --numeric-owner --mode=go=rX,u+w \
    -C "$work" "$name" | gzip "-${gzip}n" >"$out/$name.tar.gz"

# ---- the Debian package: the same files --------------------------------------------------------------------------
package=$work/package
sh scripts/stage.sh deb "$binary" "$package"
mkdir "$package/DEBIAN"
for script in postinst prerm postrm; do
    install -m 755 scripts/maintainer.sh "$package/DEBIAN/$script"
done
# The newest libc whose symbols the program asks for.
libc=$(objdump -T "$binary" | sed -n 's/.*GLIBC_\([0-9.]*[0-9]\).*/\1/p' | sort -uV | tail -n 1)
architecture=$(dpkg --print-architecture)
cat >"$package/DEBIAN/control" <<END
Package: exitpool
Version: $version
Architecture: $architecture
Maintainer: exitpool <exitpool@packages.invalid>
Installed-Size: $(du -k -s --apparent-size --exclude=DEBIAN "$package" | cut -f 1)
Depends: libc6 (>= $libc), libgcc-s1, tor (>= 0.4.8), tor-geoipdb, nftables | iptables, systemd, util-linux
Recommends: git, openssh-client
Section: net
Priority: optional
Description: pool of Tor SOCKS5 proxies, kept as a YAML file in Git says
 A daemon compares the file with the tor processes and the firewall that are really
 there, makes the difference go away, and looks again to prove that it is gone.
END
(cd "$package" && find . -type f ! -path './DEBIAN/*' | sort | cut -c 3- | xargs md5sum >DEBIAN/md5sums)
# shellcheck disable=SC2086 # several options
dpkg-deb $deb --root-owner-group --build "$package" "$out/exitpool_${version}_$architecture.deb" >/dev/null

# ---- what it is made of, and checksums ------------------------------------------------------------------------------
cargo metadata --format-version 1 --locked --filter-platform "$triple" |
    python3 scripts/sbom.py Cargo.lock >"$out/exitpool-$version.cdx.json"
cd "$out"
sha256sum "$name.tar.gz" "exitpool_${version}_$architecture.deb" "exitpool-$version.cdx.json" >SHA256SUMS
ls -l
