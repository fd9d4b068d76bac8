"""The commands of the Makefile, as `make -n` says them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def commands(target: str, *variables: str) -> list[str]:
    """What `make` would run where nothing is built yet."""
    # Of a `make` that this runs in, nothing is taken over.
    env = {
        key: value for key, value in os.environ.items() if not key.startswith(("MAKE", "MFLAGS"))
    }
    done = subprocess.run(
        ["make", "--dry-run", "--always-make", target, f"PYTHON={sys.executable}", *variables],
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.replace("\\\n", " ").splitlines()


@pytest.mark.parametrize(
    ("target", "builds"), [("demo", "/maturin build "), ("service", " cargo build ")]
)
def test_a_first_build_is_announced_and_names_what_it_builds(
    target: str, builds: str, tmp_path: Path
) -> None:
    found = commands(target, f"TARGET={tmp_path}")
    [at] = [number for number, command in enumerate(found) if builds in command]
    assert "quiet" not in found[at]
    [first] = [number for number, command in enumerate(found) if "the first time" in command]
    assert first < at
    said = subprocess.check_output(found[first], shell=True, text=True)
    assert said.startswith("building ")
    assert "a few minutes" in said
    # Where it was built before, nothing is said.
    built = Path(found[first].split()[2])
    assert tmp_path in built.parents
    built.mkdir(parents=True)
    assert subprocess.check_output(found[first], shell=True, text=True) == ""


def test_the_port_of_the_service_is_taken_from_the_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PORT", raising=False)
    assert commands("service")[-1].endswith("/gilscope-service 8000")
    monkeypatch.setenv("PORT", "8001")
    assert commands("service")[-1].endswith("/gilscope-service 8001")


def test_a_part_of_the_tests_is_named_by_pytest_args() -> None:
    part = "tests/runtime -k e1 -x"
    assert commands("pytest", f"PYTEST_ARGS={part}")[-1].endswith(f" -m pytest {part}")
