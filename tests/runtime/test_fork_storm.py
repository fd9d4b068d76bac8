"""Forks in the middle of everything: a child finds no lock that a thread of its parent holds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

# 60 forks, 2,000 in soak.
FORKS = 2000 if os.environ.get("GILSCOPE_SOAK") else 60


def test_l6_forks_while_threads_make_runtimes_calls_and_traces(ext_dir: Path) -> None:
    path = os.pathsep.join(filter(None, [str(ext_dir), os.environ.get("PYTHONPATH")]))
    program = Path(__file__).with_name("forks.py")
    done = subprocess.run(
        [sys.executable, str(program), str(FORKS)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60 + FORKS,
    )
    assert (done.returncode, done.stderr) == (0, ""), done
    assert done.stdout == f"{FORKS}\n"
