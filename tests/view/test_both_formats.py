"""One run, written in both formats, is the same tree."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gilscope.view.reading import read

if TYPE_CHECKING:
    from pathlib import Path

    from gilscope.view.model import Trace, Work

PROGRAM = """
import asyncio

import gilscope


async def inner():
    await asyncio.sleep(0)


async def child():
    await rt.call_async(inner)


async def outer():
    await rt.call_async(inner)
    await asyncio.gather(child(), child())
    raise ValueError("no")


with gilscope.PyRuntime() as rt, gilscope.trace("t.jsonl"), gilscope.trace("t.json"):
    rt.submit(outer).exception(60)
    rt.call(inner)
"""


@pytest.fixture
def both(tmp_path: Path) -> tuple[Trace, Trace]:
    """A call with calls in it, by itself and from tasks; as JSON lines and as Chrome JSON."""
    run = [sys.executable, "-c", PROGRAM]
    subprocess.run(run, cwd=tmp_path, env=os.environ, check=True, timeout=60)
    return read(str(tmp_path / "t.jsonl")), read(str(tmp_path / "t.json"))


Branch = tuple[object, ...]


def branch(work: Work) -> Branch:
    """A call or task, with all that is below it."""
    own = (work.kind, work.id, work.name, work.status, work.trace, work.parent, work.call)
    # A part that took no time is not in Chrome JSON; a poll always is.
    polls = [(piece.number, piece.id) for piece in work.pieces if piece.kind == "poll"]
    return (*own, work.error, work.polls, polls, [branch(below) for below in work.children])


def roots(trace: Trace) -> list[Branch]:
    below = {child.id for work in (*trace.calls, *trace.tasks) for child in work.children}
    return [branch(work) for work in (*trace.calls, *trace.tasks) if work.id not in below]


def test_both_formats_of_one_run_are_the_same_tree(both: tuple[Trace, Trace]) -> None:
    lines, chrome = both
    assert roots(chrome) == roots(lines)
    [outer, other] = [call for call in chrome.calls if call.parent is None]
    assert [child.kind for child in outer.children] == ["call", "task", "task", "call", "call"]
    assert other.children == []


HELD = """
import asyncio
import time

import gilscope


async def holds():
    time.sleep(0.2)


async def both():
    await asyncio.gather(*(rt.call_async(holds) for _ in range(2)))


with gilscope.PyRuntime() as rt, gilscope.trace("t.jsonl"), gilscope.trace("t.json"):
    rt.call(both)
"""


def test_a_finding_lasted_as_long_in_either_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GILSCOPE_SLOW_POLL", "50ms")
    monkeypatch.chdir(tmp_path)
    subprocess.run([sys.executable, "-c", HELD], check=True, timeout=60)
    lines, chrome = read("t.jsonl").findings, read("t.json").findings
    assert [(it.id, it.sentence, it.duration) for it in chrome] == [
        (it.id, it.sentence, it.duration) for it in lines
    ]
    assert [it.id for it in lines if it.duration]
