"""Rows of the contract again, twenty times each, while threads switch as often as they can."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FILES = ("test_errors", "test_cancel", "test_callbacks", "test_receivers", "test_shutdown")
ROWS = "e1_an or x1_ or c8_ or c9_ or l4_everybody or l4_idempotent or l4_from_inside"
ROUNDS = 20

PROGRAM = f"""
import sys
import pytest

sys.setswitchinterval(1e-6)
for round in range({ROUNDS}):
    code = pytest.main(["-q", "-p", "no:cacheprovider", "-k", {ROWS!r}, *sys.argv[1:]])
    assert code == 0, (round, code)
    assert sys.getswitchinterval() < 1e-5
print("held", round + 1)
"""


def test_l10_e1_x1_c8_c9_l4_hold_at_a_tiny_switch_interval(ext_dir: Path) -> None:
    here = Path(__file__).parent
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *(str(here / f"{name}.py") for name in FILES)],
        cwd=here.parents[1],
        env={
            **os.environ,
            "GILSCOPE_TEST_EXT_DIR": str(ext_dir),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        },
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    assert done.stdout.endswith(f"held {ROUNDS}\n")
    assert "deselected" in done.stdout
