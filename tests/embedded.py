"""Builds the binaries of `examples/embed` for the running interpreter, and runs them.

`GILSCOPE_EMBED_DIR` names a folder with prebuilt ones instead.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

ROOT = Path(__file__).parents[1]


def target() -> Path:
    """Where cargo builds: beside the other builds for this Python, never in the same folder."""
    # A program links pyo3 in another way than a module does: sharing would rebuild it each time.
    if (given := os.environ.get("CARGO_TARGET_DIR")) is not None:
        return Path(given) / "embed"
    return ROOT / "target" / "embed-{}.{}".format(*sys.version_info)


def build() -> Path:
    """Build and return the folder with the binaries; RuntimeError if that does not work."""
    if (given := os.environ.get("GILSCOPE_EMBED_DIR")) is not None:
        return Path(given)
    if shutil.which("cargo") is None:
        raise RuntimeError("examples/embed needs cargo on PATH, or GILSCOPE_EMBED_DIR")
    env = {**os.environ, "CARGO_TARGET_DIR": str(target()), "PYO3_PYTHON": sys.executable}
    env.pop("PYO3_BUILD_EXTENSION_MODULE", None)
    done = subprocess.run(
        ["cargo", "build", "--quiet", "-p", "gilscope-embed", "-p", "gilscope-service"],
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"examples/embed does not build:\n{done.stdout}")
    return target() / "debug"


class Embedded:
    """The binaries, and what they need to find the library and the modules of this Python."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # PYTHONHOME: an embedded Python would look for itself on PATH, and may find another.
        # PYTHONUNBUFFERED would write a line in pieces, between which others may come.
        self.env = {"PYTHONHOME": sys.base_prefix, "PYTHONUNBUFFERED": ""}
        if sysconfig.get_config_var("Py_ENABLE_SHARED"):
            library = str(sysconfig.get_config_var("LIBDIR"))
            others = os.environ.get("LD_LIBRARY_PATH")
            self.env["LD_LIBRARY_PATH"] = f"{library}:{others}" if others else library

    def command(self, name: str, *args: str) -> list[str]:
        """The command line of a binary."""
        return [str(self.folder / name), *args]

    def run(self, name: str, *args: str) -> subprocess.CompletedProcess[str]:
        """Run a binary to its end, at most 60 s."""
        return subprocess.run(
            self.command(name, *args),
            env={**os.environ, **self.env},
            capture_output=True,
            text=True,
            timeout=60,
        )
