"""Why a call waited for its turn: what else ran, or that the loop's thread started."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from gilscope.view.loops import Starts, gil_waits
from gilscope.view.perfetto import convert
from gilscope.view.reading import read

from .conftest import gilscope
from .traces import START, US, Lines

if TYPE_CHECKING:
    from pathlib import Path

    from gilscope.view.model import Work

FIRST = "8765432100000001"
"""The id of a loop's first turn."""


def viewed(lines: Lines, folder: Path) -> str:
    lines.write(folder / "t.jsonl")
    return gilscope("view", "t.jsonl", "--slowest", "1", cwd=folder).stdout


def part(out: str, kind: str) -> str:
    """The line of a part in the first tree."""
    found = re.search(rf"─ \S+ +{kind} .*", out)
    return found[0] if found else ""


def test_a_long_ready_says_what_ran_before_its_turn(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.slow", 0, (("queued", 1), ("ready", 20_000), ("poll", 5_000)))
    lines.work("app.early", 0, (("poll", 3),))  # for 2 µs of it
    lines.work("app.hog", 10, (("ready", 90), ("poll", 12_000), ("suspended", 10), ("poll", 100)))
    lines.work("app.other", 0, (("ready", 21_000), ("poll", 7)))
    lines.work("app.elsewhere", 0, (("poll", 19_000),), thread="loop-2")
    out = viewed(lines, tmp_path)
    said = "before its turn: 3 other polls ran, the longest `app.hog` 12.0 ms"
    assert part(out, "ready").endswith(f"█ {said}")
    assert "before its turn" not in part(out, "poll 1")
    # Too short for a word.
    assert "before its turn" not in part(out, "queued")


def test_a_long_queued_says_so_too_and_a_wait_with_nothing_in_it_nothing(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.slow", 0, (("queued", 500), ("ready", 500), ("poll", 9)))
    lines.work("app.hog", 0, (("ready", 100), ("poll", 300)))
    out = viewed(lines, tmp_path)
    said = part(out, "queued")
    assert said.endswith(" before its turn: 1 other poll ran, the longest `app.hog` 300 µs")
    assert "before its turn" not in part(out, "ready")


def test_a_call_that_came_before_the_thread_waited_for_its_start(tmp_path: Path) -> None:
    lines = Lines()
    life = (("enqueue", 10), ("queued", 40), ("gil.wait", 900), ("ready", 200), ("poll", 20))
    lines.work("app.first", 0, life)
    lines.work("app.later", 2_000, (("gil.wait", 100), ("poll", 9)))
    lines.turn(950, 300, id=FIRST, gil_wait_ns=0)
    lines.turn(2_100, 50, gil_wait_ns=100 * US)
    out = viewed(lines, tmp_path)
    for kind in ("queued", "gil.wait"):
        assert part(out, kind).endswith(" the loop thread started"), kind
    assert part(out, "ready").endswith(" in the first turn of the loop thread")
    table = out.partition("part of a call")[2]
    assert "    of gil.wait, for 900 µs the loop thread was being started: 70.4 %\n" in table
    assert "    of its time, the first turn, in which it starts: 300 µs\n" in table
    trace = read(str(tmp_path / "t.jsonl"))
    lane = (1, "loop-1")
    # It is no wait for the GIL in the pictures.
    assert gil_waits(trace)[lane] == [(START + 2_000 * US, START + 2_100 * US)]
    events = json.loads(convert(trace).text)["traceEvents"]
    on_thread = [
        (event["name"], event["ts"], event["dur"])
        for event in events
        if event["ph"] == "X" and event["tid"] == 10 and event["name"] != "poll"
    ]
    assert sorted(on_thread, key=lambda one: one[1]) == [
        ("loop thread starts", 10, 940),
        ("gil.hold, first turn", 950, 300),
        ("gil.wait", 2_000, 100),
        ("gil.hold", 2_100, 50),
    ]


def test_a_trace_that_began_later_knows_of_no_start(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun", 0, (("queued", 40), ("gil.wait", 900), ("poll", 20)))
    # The first that was recorded; a thread's first turn has no wait for the GIL before it.
    lines.turn(940, 300, id=FIRST, gil_wait_ns=900 * US)
    assert "start" not in viewed(lines, tmp_path)
    lines.records.pop()
    lines.turn(940, 300, gil_wait_ns=0)
    assert "start" not in viewed(lines, tmp_path)


def test_a_call_that_came_in_the_first_turn_waited_for_the_start_too(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.first", 200, (("enqueue", 10), ("queued", 900), ("ready", 5), ("poll", 20)))
    lines.work("app.later", 600, (("queued", 600), ("poll", 20)))
    lines.turn(0, 500, id=FIRST, gil_wait_ns=0)
    lines.turn(1_110, 40, gil_wait_ns=0)
    out = viewed(lines, tmp_path)
    assert part(out, "queued").endswith(" the loop thread started")
    assert "    of queued, for 900 µs the loop thread was being started: " in out
    # Nothing waited for it before it was there.
    assert Starts(read(str(tmp_path / "t.jsonl"))).since == {}


PROGRAM = """
import asyncio, threading, time
import gilscope

called = threading.Event()

async def first():
    await asyncio.sleep(0)

def loop():
    assert called.wait(60)  # as long as that, the first turn lasts
    return asyncio.new_event_loop()

with gilscope.trace("t.jsonl"):
    rt = gilscope.PyRuntime(loop_factory=loop)
    future = rt.submit(first)
    called.set()
    future.result()
    for _ in range(20):  # the next one may come in the first turn as well
        time.sleep(0.05)
        rt.call(first)
"""


def test_the_call_that_started_a_real_runtime_says_so(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    subprocess.run([sys.executable, "program.py"], cwd=tmp_path, check=True, timeout=60)
    trace = read(str(tmp_path / "t.jsonl"))
    starts = Starts(trace)
    [lane] = starts.turns
    assert set(starts.since) <= {lane}  # it may have begun before the call
    first, *_, last = trace.calls

    def reasons(call: Work) -> list[str]:
        each = (p.kind for p in call.pieces if starts.waits(call, p) or starts.readies(call, p))
        return list(each)

    # Which parts it takes depends on whether it came before the thread was there.
    assert reasons(first), first.pieces
    assert not reasons(last)
    out = gilscope("view", "t.jsonl", cwd=tmp_path).stdout
    assert re.search("the loop thread started|in the first turn of the loop thread", out)
