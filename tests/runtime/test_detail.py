"""How much is recorded: chosen by the environment, and less by itself when it is too much."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio
import gilscope

async def twice():
    await asyncio.sleep(0)

with gilscope.PyRuntime() as rt, gilscope.trace() as trace:
    rt.call(twice)
print(gilscope.stats()["detail"], *sorted({span["span"] for span in trace.spans}))
"""
CALL = ["call", "loop.turn"]
FULL = ["call", "callback", "enqueue", "gil.wait", "loop.turn", "poll", "queued", "ready"]


def recorded(tmp_path: Path, wanted: str | None) -> tuple[list[str], str]:
    """What a program says that it recorded, and its stderr."""
    environment = {key: value for key, value in os.environ.items() if key != "GILSCOPE_DETAIL"}
    if wanted is not None:
        environment["GILSCOPE_DETAIL"] = wanted
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split(), done.stderr


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (None, ["full", *FULL, "suspended"]),
        ("", ["full", *FULL, "suspended"]),
        ("full", ["full", *FULL, "suspended"]),
        ("call", ["call", *CALL]),
        ("off", ["off"]),
    ],
)
def test_the_environment_chooses(tmp_path: Path, wanted: str | None, expected: list[str]) -> None:
    assert recorded(tmp_path, wanted) == (expected, "")


def test_a_bad_choice_is_told_in_one_line(tmp_path: Path) -> None:
    found, said = recorded(tmp_path, "Full!")
    assert found[0] == "full"
    expected = 'gilscope: GILSCOPE_DETAIL must be off, call or full, not "Full!"'
    assert said == f"{expected}; recording in full\n"
