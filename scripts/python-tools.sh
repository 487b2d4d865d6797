#!/usr/bin/env bash
# Installs what tests take from Python's package index, each tool into an environment of its own below target/python:
#
#   python-tools.sh NAME...      NAME is a directory in tests/ whose requirements.txt has every part, in one version
#
# Does nothing for what is there already, in these versions.
set -euo pipefail
cd "$(dirname "$0")/.."

# Debian's own interpreter, for which setup.sh installs the module venv.
python=/usr/bin/python3
[ -x "$python" ] || python=python3

for name in "$@"; do
    pinned=tests/$name/requirements.txt
    environment=${CARGO_TARGET_DIR:-target}/python/$name
    if cmp --silent "$pinned" "$environment/installed"; then
        continue
    fi
    echo "setup: installing $pinned into $environment" >&2
    rm -rf "$environment"
    "$python" -m venv "$environment"
    # Everything is named, so nothing has to be found out; and kustomize asks for a newer Python than it needs.
    "$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --ignore-requires-python \
        --requirement "$pinned"
    cp "$pinned" "$environment/installed"
done
