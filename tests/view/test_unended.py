"""Calls that had not ended when the trace did: what the file has of them, and what it lacks."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from gilscope.view.numbers import in_flight
from gilscope.view.payload import Payload
from gilscope.view.perfetto import convert
from gilscope.view.reading import read
from gilscope.view.unended import headline, lacking, unended

from .conftest import gilscope
from .traces import LIFE, Lines

if TYPE_CHECKING:
    from pathlib import Path

# Of a call that was open when its loop was given up; `callback` is the time since its last poll.
OPEN = (*LIFE[:-1], ("callback", 5_000))


def viewed(lines: Lines, folder: Path) -> str:
    lines.write(folder / "t.jsonl")
    return gilscope("view", "t.jsonl", cwd=folder).stdout


def not_ended(out: str) -> list[str]:
    """That section, line by line."""
    found = [part for part in out.split("\n\n") if part.startswith("not ended: ")]
    return found[0].splitlines() if found else []


def parts_alone(lines: Lines, call: str) -> None:
    """Leave of a call its parts, as a file has them of one that had not ended."""
    lines.records = [line for line in lines.records if line["id"] != call]


def test_one_that_was_open_at_the_exit_says_how_long_and_where_it_awaited(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun")
    flags = {"status": "cancelled_by_shutdown", "flags": ["unfinished"]}
    call = lines.work("app.stuck", 100, OPEN, **flags)
    head, stuck = not_ended(out := viewed(lines, tmp_path))
    assert head == "not ended: 1 call"
    assert stuck == (
        "  app.stuck  5.99 ms, began at 100 µs; not polled for the last 5.00 ms;"
        f" awaited before its last known poll at /src/app.py:7 in fun, id {call}"
    )
    # It is no `callback`, and no percentile is of a life that had not ended.
    assert re.search(r"^call +1\.00 ms +1\.00 ms +1\.00 ms +1\.00 ms +100\.0 %$", out, re.M)
    assert "  without 1 call that had not ended\n" in out
    assert "not ok: 1 of 2 calls: 1 cancelled_by_shutdown\n" in out


def test_one_that_was_in_a_poll_says_so(tmp_path: Path) -> None:
    lines = Lines()
    life = (*LIFE[:-2], ("poll", 7_000), ("callback", 0))
    lines.work("app.held", 0, life, status="cancelled_by_shutdown", flags=["unfinished"])
    [_, held] = not_ended(out := viewed(lines, tmp_path))
    assert held.startswith("  app.held  7.91 ms, began at 0 ns; in poll 2, for 7.00 ms; awaited ")
    # With no call that ended there is a tree of it, and no table without a row.
    assert "└─ … not ended: what came after is not in the file\n" in out
    assert "part of a call" not in out


def test_of_one_that_left_its_parts_they_are_shown_and_its_begin_is_not_made_up(
    tmp_path: Path,
) -> None:
    lines = Lines()
    lines.work("app.fun")
    call = lines.work("app.long", 2_000, LIFE[4:-1])
    lines.work("helper", 2_100, (("ready", 1), ("poll", 2)), kind="task", call=call)
    parts_alone(lines, call)
    head, long, lack, cut = not_ended(out := viewed(lines, tmp_path))
    assert head == "not ended: 1 call"
    assert long == (
        "  app.long  seen for 980 µs, from 2.00 ms on; awaited before its last known poll"
        f" at /src/app.py:7 in fun, id {call}"
    )
    assert lack.startswith("  seen: the file has parts of the call alone, neither its begin")
    assert "at least 1 call was open" in cut
    assert out.startswith("1 call in ")
    trace = read(str(tmp_path / "t.jsonl"))
    # It is in the picture with its task, for as long as it was seen.
    [found] = trace.open
    assert [task.name for task in found.children] == ["helper"]
    assert in_flight(trace)[-2:] == [(found.start, 1), (found.end, 0)]
    [drawn] = [each for each in Payload(trace).build()["calls"] if each[5] == call]
    assert drawn[14], "its task"
    named = [event["name"] for event in json.loads(convert(trace).text)["traceEvents"]]
    assert named.count("app.long (not ended)") == 2


def test_one_that_only_others_name_is_counted(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun")
    lines.work("helper", 100, (("ready", 1), ("poll", 2)), kind="task", call="a" * 16)
    lines.rust_poll("b" * 16, 1, 50, 5)
    head, *calls, lack, cut = not_ended(viewed(lines, tmp_path))
    assert head == "not ended: 2 calls"
    assert cut == (
        "  the file may have been cut off while at least 2 calls were open, by a kill say;"
        " else the trace ended then"
    )
    assert calls == [
        f"  call  seen for 5.00 µs, from 50.0 µs on; what it did is not in the file, id {'b' * 16}",
        f"  call  seen for 0 ns, from 100 µs on; what it did is not in the file, id {'a' * 16}",
    ]
    assert lack.startswith("  seen: ")


def test_those_that_left_nothing_are_counted_by_the_turns_that_polled_them(tmp_path: Path) -> None:
    lines = Lines()
    lines.turn(0, 8, calls=9)  # may have polled what ended before the trace began
    lines.work("app.fun")
    lines.turn(10, 200, calls=3)
    lines.turn(900, 100, calls=2)
    head, lack, _ = not_ended(viewed(lines, tmp_path))
    assert head == "not ended: at least 2 of which the file has nothing"
    assert lack == (
        "  of which it has nothing: turns polled more calls and tasks than the file has"
    )


def test_nobody_is_told_to_make_calls_of_which_turns_and_rust_polls_speak(tmp_path: Path) -> None:
    lines = Lines()
    lines.turn(0, 8, calls=0)
    lines.turn(10, 200, calls=3)
    assert not_ended(out := viewed(lines, tmp_path))[-1].startswith(
        "  the file may have been cut off while at least 3 calls or tasks were open"
    )
    assert "make some" not in out
    lines.rust_poll("b" * 16, 1, 50, 5)
    head, *_, cut = not_ended(out := viewed(lines, tmp_path))
    assert head.startswith("not ended: 1 call, and at least 2 more")
    assert "at least 3 calls or tasks were open" in cut
    assert "make some" not in out


def test_of_many_the_longest_lived_are_named(tmp_path: Path) -> None:
    lines = Lines()
    for number in range(30):
        flags = {"status": "cancelled_by_shutdown", "flags": ["unfinished"]}
        lines.work(f"app.n{number}", 100 * number, OPEN, **flags)
    head, *rest = not_ended(viewed(lines, tmp_path))
    assert head == "not ended: 30 calls"
    assert [line.split()[0] for line in rest[:-1]] == [f"app.n{number}" for number in range(5)]
    assert rest[-1] == "  … and 25 calls that began later"


def test_a_trace_in_which_all_ended_says_nothing_of_it(tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    lines.turn(0, 8, calls=0)
    lines.turn(10, 990, calls=1)
    assert not_ended(viewed(lines, tmp_path)) == []


PROGRAM = """
import asyncio, sys, threading, time
import gilscope

started = threading.Semaphore(0)

async def done():
    await asyncio.sleep(0)

async def few():
    started.release()
    await asyncio.Event().wait()

async def many():
    for _ in range(200):
        await asyncio.sleep(0)
    started.release()
    await asyncio.Event().wait()

async def held():
    started.release()
    time.sleep(600)

path, how, *names = sys.argv[1:]
rt = gilscope.PyRuntime()
trace = gilscope.trace(path)
trace.__enter__()
rt.call(done)
for name in names:
    rt.submit(globals()[name])
    assert started.acquire(timeout=60)
if how != "exit":
    rt.call(done)
    rt.call(done)
if how == "block":
    trace.__exit__(None, None, None)
elif how == "killed":
    sys.stdin.read()
"""


def traced(folder: Path, name: str, how: str, *calls: str) -> None:
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", name, how, *calls]
    path = folder / name
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE) as process:
        if how == "killed":
            while not path.exists() or path.read_text().count('"span":"call"') < 3:
                assert process.poll() is None
                time.sleep(0.01)
            process.kill()
        code = process.wait(timeout=60)
        assert code == (-signal.SIGKILL if how == "killed" else 0)


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_a_trace_block_that_ends_before_its_calls(name: str, tmp_path: Path) -> None:
    traced(tmp_path, name, "block", "many", "few")
    trace = read(str(tmp_path / name))
    assert len(trace.calls) == 3
    [many] = unended(trace)
    assert many.name.endswith("many")
    assert not many.begun
    assert 64 <= many.polls <= 200
    out = gilscope("view", name, cwd=tmp_path).stdout
    assert re.match(r"not ended: 1 call", not_ended(out)[0])
    assert "3 calls in " in out


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_a_process_that_exits_with_calls_in_flight(name: str, tmp_path: Path) -> None:
    traced(tmp_path, name, "exit", "many", "held")
    out = gilscope("view", name, cwd=tmp_path).stdout
    head, many, held = not_ended(out)
    assert head == "not ended: 2 calls", out
    assert re.search(
        r"many  .*, began at .*; not polled for the last .*; awaited before .* program\.py:", many
    )
    assert re.search(r"held  .*, began at .*; in poll 1, for [\d.]+ \w+, id ", held)


def test_a_process_that_is_killed_with_a_call_that_left_nothing(tmp_path: Path) -> None:
    traced(tmp_path, "t.jsonl", "killed", "few")
    trace = read(str(tmp_path / "t.jsonl"))
    assert unended(trace) == []
    # Its one poll was in a turn of the loop, which is in the file.
    assert headline(trace) == "at least 1 of which the file has nothing"
    assert lacking(trace)[0].startswith("of which it has nothing: turns polled more")
