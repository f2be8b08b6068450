"""Fails if a dependency of the library, not of its tests, declares a newer Rust than the one given."""

import json
import subprocess
import sys


def version(text):
    return tuple(int(part) for part in (text + ".0.0").split(".")[:3])


limit = version(sys.argv[1])
metadata = json.loads(
    subprocess.check_output(["cargo", "metadata", "--locked", "--format-version", "1", "--all-features"])
)
packages = {package["id"]: package for package in metadata["packages"]}
nodes = {node["id"]: node for node in metadata["resolve"]["nodes"]}

# Everything reached from the library without its dev-dependencies.
root = metadata["resolve"]["root"]
reached, waiting = set(), [root]
while waiting:
    at = waiting.pop()
    if at in reached:
        continue
    reached.add(at)
    for dependency in nodes[at]["deps"]:
        if any(kind["kind"] != "dev" for kind in dependency["dep_kinds"]):
            waiting.append(dependency["pkg"])

newer = [
    f"{package['name']} {package['version']} needs Rust {package['rust_version']}"
    for package in (packages[at] for at in sorted(reached))
    if package["rust_version"] and version(package["rust_version"]) > limit
]
print(f"    {len(reached) - 1} dependencies of the library, {len(newer)} of them newer than Rust {sys.argv[1]}")
if newer:
    sys.exit("\n".join(newer))
