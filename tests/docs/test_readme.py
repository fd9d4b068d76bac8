"""What README.md shows is run."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

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


def test_its_rust_is_run() -> None:
    # As a doc-test, by `make rust`; `no_run` and the like would leave it out.
    assert len(re.findall(r"^```rust\n", README, re.MULTILINE)) == 1
    assert "```rust," not in README
    assert 'include_str!("../../README.md")' in (ROOT / "runtime/src/lib.rs").read_text()


def test_its_rust_has_the_crates_that_it_uses() -> None:
    [shown] = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    [code] = re.findall(r"```rust\n(.*?)```", README, re.DOTALL)
    versions = tomllib.loads(shown)
    assert {f"{crate.replace('-', '_')}::" in code for crate in versions} == {True}
    used = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["dependencies"]
    for crate in ("pyo3", "tokio", "futures-util"):
        assert version(versions[crate]) == version(used[crate]), crate


def version(given: Any) -> str:
    found: str = given if isinstance(given, str) else given["version"]
    return found


def test_it_says_what_is_needed_and_where_to_look() -> None:
    cargo = tomllib.loads((ROOT / "Cargo.toml").read_text())
    assert f"Rust {cargo['workspace']['package']['rust-version']} or later" in README
    assert "(docs/spans.md)" in README
    assert "`.venv/bin/gilscope`" in README


def test_its_commands_have_the_options_that_it_shows() -> None:
    shown = re.findall(r"^\$ gilscope (\w+) (.*?)(?: +#.*)?$", README, re.MULTILINE)
    assert [command for command, _ in shown] == ["run", "view", "view"]
    for command, rest in shown:
        done = subprocess.run(
            [sys.executable, "-m", "gilscope", command, "--help"],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0
        for option in re.findall(r"--\w+", rest):
            assert option in done.stdout
        for path in re.findall(r"\S+\.py\b", rest):
            assert (ROOT / path).is_file()


def test_it_says_what_a_test_needs_that_is_not_python() -> None:
    needed = README.partition("## What is needed")[2].partition("\n## ")[0]
    [row] = [line for line in needed.splitlines() if line.startswith("| `make test` ")]
    assert re.search(r"Go \d+\.\d+", row)
    assert "Chromium" in row
    for version in re.findall(r"\b3\.1\d\b", needed.partition("| `make check`")[2]):
        assert version in re.findall(r"PYTHONS \?= (.*)", (ROOT / "Makefile").read_text())[0]


def test_every_make_target_named_in_prose_exists() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    for name in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"\bmake ([a-z]+)\b`?", (ROOT / name).read_text()))
        assert named <= targets, f"{name}: {sorted(named - targets)}"
