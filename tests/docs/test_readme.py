"""What README.md shows is run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def test_it_opens_with_the_two_commands() -> None:
    opening = "\n".join(README.splitlines()[:6])
    assert "$ make demo" in opening
    assert "$ make test" in opening


def test_its_python_runs(tmp_path: Path) -> None:
    # One program: the second block goes on where the first ends.
    code = "\n".join(re.findall(r"```python\n(.*?)```", README, re.DOTALL))
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.stderr == ""
    *plain, late, stats, simulated = done.stdout.splitlines()
    assert plain == ["42", "8", "[0, 2, 4, 6, 8]", "2"]
    assert late == "suspended"
    assert "p99_ns" in stats
    assert re.fullmatch(r"\[0, 2, 4\] 0\.01 \d+", simulated)
    assert (tmp_path / "trace.json").stat().st_size > 0


def test_its_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^):]+)\)", README):
        assert (ROOT / target).exists(), target


def test_every_make_target_named_in_prose_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"\bmake ([a-z]+)\b`?", (ROOT / name).read_text()))
        assert named <= targets, f"{name}: {sorted(named - targets)}"
