#!/usr/bin/env bash
# Installs kustomize and the schemas of Kubernetes, which check deploy/kubernetes, into an environment of its own below target/.
# Does nothing where they are there already, in the versions of tests/deploy/requirements.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

pinned=tests/deploy/requirements.txt
environment=${CARGO_TARGET_DIR:-target}/deploy-tools
if cmp --silent "$pinned" "$environment/installed"; then
    exit 0
fi
echo "setup: installing kustomize and the schemas of Kubernetes into $environment" >&2
rm -rf "$environment"
# Debian's own interpreter, for which setup.sh installs the module venv.
python=/usr/bin/python3
[ -x "$python" ] || python=python3
"$python" -m venv "$environment"
# kustomize's package asks for a newer Python than Debian has, and works with it: everything is pinned, and tested.
"$environment/bin/pip" install --quiet --disable-pip-version-check --no-deps --ignore-requires-python --requirement "$pinned"
cp "$pinned" "$environment/installed"
