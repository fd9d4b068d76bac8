"""Builds the extension module `gilscope_peers` for the running Python and puts it on the path."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = "gilscope-bench-peers"


class BuildFailed(Exception):
    """Cargo did not produce the module; its own words are already on stderr."""


def build() -> Path:
    """Build in release mode and return the directory that holds `gilscope_peers.so`."""
    env = os.environ | {"PYO3_PYTHON": sys.executable, "PYO3_BUILD_EXTENSION_MODULE": "1"}
    command = ["cargo", "build", "--release", "-p", PACKAGE]
    command += ["--message-format", "json-render-diagnostics"]
    done = subprocess.run(command, cwd=ROOT, env=env, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BuildFailed(f"`{' '.join(command)}` failed")
    built = _artifact(done.stdout)
    place = built.parent / "bench" / f"py{sys.version_info[0]}.{sys.version_info[1]}"
    place.mkdir(parents=True, exist_ok=True)
    # By rename: a running benchmark may have the old file mapped.
    fresh = place / "gilscope_peers.so.new"
    shutil.copy2(built, fresh)
    fresh.rename(place / "gilscope_peers.so")
    return place


def _artifact(messages: str) -> Path:
    for line in messages.splitlines():
        message = json.loads(line)
        if message.get("reason") != "compiler-artifact":
            continue
        if message["target"]["name"] == "gilscope_peers":
            return next(Path(f) for f in message["filenames"] if f.endswith(".so"))
    raise BuildFailed("cargo built no gilscope_peers library")
