"""Builds the test extension for the running interpreter: `python tests/ext/build.py FOLDER`.

`GILSCOPE_TEST_EXT_DIR` names a folder with a prebuilt one instead.
"""

from __future__ import annotations

import importlib.machinery
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
MODULE = "gilscope_test_ext"


def target() -> Path:
    """Where cargo builds: beside the other builds for this Python, never in the same folder."""
    # `PYO3_BUILD_EXTENSION_MODULE` below changes how pyo3 links: it would be rebuilt each time.
    if (given := os.environ.get("CARGO_TARGET_DIR")) is not None:
        return Path(given) / "ext"
    return ROOT / "target" / "ext-{}.{}".format(*sys.version_info)


def build(folder: Path) -> None:
    """Build the extension and put it into `folder` under its import name; RuntimeError if not."""
    if shutil.which("cargo") is None:
        raise RuntimeError("the test extension needs cargo on PATH, or GILSCOPE_TEST_EXT_DIR")
    done = subprocess.run(
        ["cargo", "build", "--quiet", "--package", "gilscope-test-ext"],
        cwd=ROOT,
        env={
            **os.environ,
            "CARGO_TARGET_DIR": str(target()),
            "PYO3_PYTHON": sys.executable,
            "PYO3_BUILD_EXTENSION_MODULE": "1",
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"the test extension does not build:\n{done.stdout}")
    suffix = importlib.machinery.EXTENSION_SUFFIXES[0]
    shutil.copy(target() / "debug" / f"lib{MODULE}.so", folder / f"{MODULE}{suffix}")


if __name__ == "__main__":
    build(Path(sys.argv[1]))
