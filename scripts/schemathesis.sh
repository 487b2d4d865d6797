#!/usr/bin/env bash
# Installs schemathesis, which checks the server against its own description, into an environment of its own below target/.
# Does nothing where it is there already, in the versions of tests/schemathesis/requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

pinned=tests/schemathesis/requirements.txt
environment=${CARGO_TARGET_DIR:-target}/schemathesis
if cmp --silent "$pinned" "$environment/installed"; then
    exit 0
fi
echo "setup: installing schemathesis into $environment" >&2
rm -rf "$environment"
# Debian's own interpreter, for which setup.sh installs the module venv.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" -m venv "$environment"
"$environment/bin/pip" install --quiet --disable-pip-version-check --requirement "$pinned"
cp "$pinned" "$environment/installed"
