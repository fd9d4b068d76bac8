"""What `gilscope view` says of loop threads: turns, CPU time, and waits for the GIL."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from gilscope.view.loops import Waits, loops
from gilscope.view.model import Trace, Turn

from .conftest import gilscope
from .traces import US, Lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

# Suspended from 110 until 910 µs, of 1,000.
SUSPENDED = (("enqueue", 10), ("poll", 100), ("suspended", 800), ("poll", 80), ("callback", 10))


def viewed(lines: Lines, folder: Path) -> str:
    lines.write(folder / "t.jsonl")
    return gilscope("view", "t.jsonl", cwd=folder).stdout


def test_a_wait_for_the_gil_while_a_call_is_suspended_is_said(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun", 0, SUSPENDED)
    lines.turn(10, 100, gil_wait_ns=2 * US)
    lines.turn(600, 310, gil_wait_ns=400 * US)
    out = viewed(lines, tmp_path)
    assert re.search(r"wait suspended +800 µs .*, the loop waited 400 µs of it for the GIL\n", out)
    table = out.partition("part of a call")[2]
    assert re.search(
        r"^  suspended .* 80\.0 %\n"
        r"    of suspended, the loop waited 400 µs for the GIL: 40\.0 %\n"
        r"  callback ",
        table,
        re.MULTILINE,
    )
    # One wait of the loop counts once for each call, so the sum may exceed what the loop waited.
    lines.work("app.fun", 0, SUSPENDED)
    summed = "    of suspended, the loop waited 800 µs for the GIL, summed over 2 calls: 40.0 %\n"
    assert summed in viewed(lines, tmp_path)


def test_a_loop_thread_has_its_turns_cpu_time_and_waits(tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    for number in range(10):
        # Each far below what would be a finding.
        lines.turn(100 * number, 60, gil_wait_ns=20 * US, cpu_ns=45 * US)
    out = viewed(lines, tmp_path)
    assert "findings: none" in out
    head, row, share = out.partition("loop thread ")[2].splitlines()[:3]
    assert share == "  share: GIL waits, of those and the time of the turns together"
    assert head.split() == ["turns", "time", "CPU", "GIL", "waits", "longest", "share"]
    assert re.split(r" {2,}", row) == [
        "loop-1", "10", "600 µs", "450 µs", "200 µs", "20.0 µs", "25.0 %"
    ]  # fmt: skip


def test_what_a_file_does_not_say_is_not_made_up(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun", 0, SUSPENDED)
    lines.turn(10, 100)
    out = viewed(lines, tmp_path)
    assert "for the GIL" not in out
    assert re.search(r"^loop-1 +1 +100 µs +100 µs +- +- +-$", out, re.MULTILINE)


def test_many_loop_threads_are_counted(tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    for number in range(10):
        lines.turn(0, 10 + number, thread=f"loop-{number}")
    out = viewed(lines, tmp_path)
    assert re.findall(r"^(loop-\d) ", out, re.MULTILINE) == [f"loop-{n}" for n in range(2, 10)]
    assert "  … and 2 loop threads that did less\n" in out


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_a_real_run_has_them_in_both_formats(name: str, real: Callable[..., Path]) -> None:
    path = real(name)
    out = gilscope("view", name, cwd=path.parent).stdout
    time = r"[\d.]+ (?:ns|µs|ms|s)"
    row = rf"^gilscope\S* +\d+ +{time} +{time} +{time} +{time} +[\d.]+ %$"
    assert len(re.findall(row, out, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [(0, 5, 0), (0, 15, 5), (12, 15, 3), (0, 100, 25), (15, 42, 7), (40, 40, 0), (55, 99, 0)],
)
def test_any_stretch_of_time_is_asked_exactly(start: int, end: int, expected: int) -> None:
    lane = (1, "loop")
    # The third wait begins within the second turn: a file may say so.
    turns = [Turn(20, 30, 1, 1, 10), Turn(50, 60, 1, 1, 10), Turn(55, 60, 1, 1, 20)]
    trace = Trace("t", turns={lane: turns})
    assert Waits(trace).within(lane, start, end) == expected
    assert Waits(trace).within((2, "other"), start, end) == 0
    assert [(loop.waited, loop.longest) for loop in loops(trace)] == [(40, 20)]
