"""A build in which a panic would end the process is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFUSED = 'error: gilscope-runtime needs panic = "unwind"'


@pytest.mark.parametrize(("panic", "refused"), [("abort", True), ("unwind", False)])
def test_e17_a_build_with_panic_abort_is_refused(tmp_path: Path, panic: str, refused: bool) -> None:
    # The one module by itself: a check of the crate would build all that it depends on once more.
    source = ROOT / "runtime" / "src"
    assert "\nmod unwind;\n" in (source / "lib.rs").read_text()
    command = ["rustc", "--edition=2024", "--crate-type=lib", "--emit=metadata", "-C"]
    done = subprocess.run(
        [*command, f"panic={panic}", "--out-dir", str(tmp_path), str(source / "unwind.rs")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (REFUSED in done.stderr) is refused
    assert (done.returncode != 0) is refused, done.stderr
