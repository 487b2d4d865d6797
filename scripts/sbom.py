#!/usr/bin/env python3
"""Writes a bill of materials, CycloneDX 1.4 as JSON, of what `cargo metadata` and Cargo.lock say the program is made of.

    cargo metadata --format-version 1 --locked --filter-platform TRIPLE | sbom.py Cargo.lock >exitpool.cdx.json

Crates that are linked in have the scope `required`; those that only build or are macros have `excluded`, and those of the
tests are left out. The time is that of SOURCE_DATE_EPOCH, and the serial number follows from the content, so the same
sources give the same bytes.
"""

import datetime
import json
import os
import sys
import tomllib
import uuid


def edges(node, kinds):
    """The packages that a package of the graph needs, in the build or at run time."""
    wanted = (dep for dep in node["deps"] if any(kind["kind"] in kinds for kind in dep["dep_kinds"]))
    return sorted({dep["pkg"] for dep in wanted})


def reach(nodes, begin, follow):
    """Every package that can be reached."""
    found, waiting = set(), [begin]
    while waiting:
        package = waiting.pop()
        if package not in found:
            found.add(package)
            waiting.extend(follow(nodes[package]))
    return found


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version'].replace('+', '%2B')}"


def component(package, checksums, scope):
    said = {
        "type": "library",
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "scope": scope,
        "purl": purl(package),
    }
    if package["license"]:
        # The slash is how crates wrote it before SPDX's expressions.
        said["licenses"] = [{"expression": package["license"].replace(" / ", "/").replace("/", " OR ")}]
    if checksum := checksums.get((package["name"], package["version"])):
        said["hashes"] = [{"alg": "SHA-256", "content": checksum}]
    if package["repository"]:
        said["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return said


def main():
    metadata = json.load(sys.stdin)
    with open(sys.argv[1], "rb") as lock:
        checksums = {(it["name"], it["version"]): it.get("checksum") for it in tomllib.load(lock)["package"]}
    packages = {package["id"]: package for package in metadata["packages"]}
    nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}
    root = metadata["resolve"]["root"]

    is_macro = lambda id: any("proc-macro" in target["kind"] for target in packages[id]["targets"])
    linked = lambda node: [] if is_macro(node["id"]) else [id for id in edges(node, [None]) if not is_macro(id)]
    built = lambda node: edges(node, [None, "build"])
    runs, builds = reach(nodes, root, linked), reach(nodes, root, built)

    parts = sorted(builds - {root}, key=lambda id: (packages[id]["name"], packages[id]["version"]))
    components = [component(packages[id], checksums, "required" if id in runs else "excluded") for id in parts]
    dependencies = [
        {"ref": purl(packages[id]), "dependsOn": [purl(packages[to]) for to in built(nodes[id])]} for id in [root, *parts]
    ]
    program = component(packages[root], checksums, "required") | {"type": "application"}
    made = datetime.datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), datetime.timezone.utc)
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.4",
        "version": 1,
        "metadata": {"timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"), "component": program},
        "components": components,
        "dependencies": dependencies,
    }
    serial = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(document, sort_keys=True))
    json.dump({"serialNumber": f"urn:uuid:{serial}", **document}, sys.stdout, indent=1, ensure_ascii=False)
    print()


main()
