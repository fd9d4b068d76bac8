"""Ctrl-C writes what is done, gives the rest a "cancelled" row and exits with 130."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from .conftest import TIMEOUT, rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Cli


def interrupted(cli: Cli, function: str, given: str, ready: int) -> tuple[int, str, str]:
    """Start a run, interrupt it when `ready` rows are written, and return how it ended."""
    out = cli.folder / "out.jsonl"
    args = ("--out", "out.jsonl", "--concurrency", "8")
    with ended(cli.start("run", f"functions.py:{function}", "--input", given, *args)) as process:
        assert process.stdin is not None
        process.stdin.write(b"0\n1\n2\n")  # and stays open
        process.stdin.flush()
        wait_for_rows(process, out, ready)
        process.send_signal(signal.SIGINT)
        process.wait(TIMEOUT)
        assert process.stderr is not None
        err = process.stderr.read().decode()
    return process.returncode, out.read_text(), err


@contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """See that the process ends with the block, whatever happens in it, and in bounded time."""
    with process:
        # Who waits for a line that never comes then sees the end of the pipe.
        late = threading.Timer(2 * TIMEOUT, process.kill)
        late.start()
        try:
            yield process
        finally:
            late.cancel()
            process.kill()


def wait_for_rows(process: subprocess.Popen[bytes], out: Path, count: int) -> None:
    end = time.monotonic() + TIMEOUT
    while written(out) < count:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < end
        time.sleep(0.01)


def written(out: Path) -> int:
    """How many rows there are; a run that looks whether it may write makes and removes a file."""
    try:
        return out.read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


SOURCES = ["functions.py:endless", "functions.py:one_then_wait", "functions.py:one_then_await", "-"]


@pytest.mark.parametrize("given", SOURCES)
def test_ctrl_c(cli: Cli, given: str) -> None:
    cli.write("functions.py", STARTED + (cli.folder / "functions.py").read_text())
    code, out, err = interrupted(cli, "first_ends", given, 1)
    assert code == 130, err
    found = rows(out)
    assert [row["index"] for row in found] == list(range(len(found)))
    for row in found[1:]:
        assert row["ok"] is False
        assert row["error"]["type"] == "cancelled"
    assert "Traceback" not in err
    assert f"{max(len(found) - 1, 0)} cancelled" in err


# The first call returns, the others wait for ever.
STARTED = """
import asyncio
async def first_ends(x):
    if x == 0:
        return x
    await asyncio.Event().wait()
"""


def test_ctrl_c_while_calls_are_many(cli: Cli) -> None:
    code, out, err = interrupted(cli, "double", "functions.py:endless", 50)
    assert code == 130, err
    found = rows(out)
    assert [row["index"] for row in found] == list(range(len(found)))
    cancelled = [row for row in found if not row["ok"]]
    assert all(row["error"]["type"] == "cancelled" for row in cancelled)
    assert f"{len(found) - len(cancelled):,} ok" in err


@pytest.mark.parametrize("source", ["interrupts_itself", "is_interrupted_meanwhile"])
def test_ctrl_c_between_an_input_and_its_call(cli: Cli, source: str) -> None:
    done = cli.run("echo", source)
    assert done.code == 130, done.err
    assert [row["index"] for row in done.rows] == [0, 1, 2]
    assert done.rows[2]["error"]["type"] == "cancelled"


@pytest.mark.parametrize(
    ("source", "read"),
    [("is_interrupted", 2), ("raises_interrupt", 1), ("raises_interrupt_async", 1)],
)
def test_ctrl_c_that_the_source_raises(cli: Cli, source: str, read: int) -> None:
    done = cli.run("echo", source)
    assert done.code == 130, done.err
    assert [row["index"] for row in done.rows] == list(range(read))
    rest = f"stopped after {read} input{'s' * (read > 1)}, the rest of functions.py:{source}"
    assert f"; {rest} was not read\n" in done.err


# The first call returns once the third has started, the others wait for ever.
THREE_READ = """
import asyncio
started = []
three = asyncio.Event()
async def first_ends_when_three_are_read(x):
    started.append(x)
    if len(started) == 3:
        three.set()
    await (asyncio.Event() if x else three).wait()
"""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("functions.py:endless", "the rest of functions.py:endless was not read"),
        ("-", "stopped after 3 inputs, the rest of standard input was not read"),
        ("three.jsonl", "every input was read"),
        ("many.jsonl", "of 100,000 inputs, "),
    ],
)
def test_ctrl_c_says_what_was_not_read(cli: Cli, given: str, said: str) -> None:
    cli.write("functions.py", THREE_READ + (cli.folder / "functions.py").read_text())
    cli.write("three.jsonl", "0\n1\n2")
    cli.write("many.jsonl", "0\n" + "1\n" * 99_999)
    code, out, err = interrupted(cli, "first_ends_when_three_are_read", given, 1)
    assert code == 130, err
    line = next(line for line in err.splitlines() if line.startswith("interrupted: "))
    assert said in line
    if given == "many.jsonl":
        counts = re.search(r"after ([\d,]+) of 100,000 inputs, ([\d,]+) were not read", line)
        assert counts
        read, unread = (int(count.replace(",", "")) for count in counts.groups())
        assert read == len(rows(out)) == 100_000 - unread


# By then at least half of what was read waits for room.
INTERRUPTED_LATE = """
import asyncio, signal

async def forever(x):
    await asyncio.Event().wait()

def eight():
    yield from range(8)
    signal.raise_signal(signal.SIGINT)
"""


def test_what_had_not_started_is_no_call(cli: Cli) -> None:
    cli.write("late.py", INTERRUPTED_LATE)
    args = ("--input", "late.py:eight", "--concurrency", "4")
    done = cli("run", "late.py:forever", *args)
    assert done.code == 130, done.err
    assert len(done.rows) == 8
    unstarted = sum(row["ms"] is None for row in done.rows)
    assert unstarted >= 4
    assert re.match(f"{8 - unstarted} calls? in ", done.err)
    said = f"8 inputs: 0 ok, 0 errors, 8 cancelled, {unstarted} of them before they started\n"
    assert said in done.err


# Asks for a stop when the trace has begun and no call can be made yet.
EARLY = """
import signal, sys
from gilscope import _native, cli

def early(*args, make=_native.Batch, **kwargs):
    signal.raise_signal(signal.SIGINT)
    return make(*args, **kwargs)

_native.Batch = early
sys.exit(cli.main(sys.argv[1:]))
"""


def test_ctrl_c_before_the_first_call_leaves_a_whole_trace(cli: Cli) -> None:
    command = [sys.executable, str(cli.write("early.py", EARLY)), "run", "functions.py:echo"]
    options = ["--input", "functions.py:ten", "--out", "out.jsonl", "--trace", "t.json"]
    done = subprocess.run(
        [*command, *options], cwd=cli.folder, timeout=TIMEOUT, capture_output=True, check=False
    )
    assert done.returncode == 130, done.stderr
    assert "traceEvents" in json.loads((cli.folder / "t.json").read_text())
    assert (cli.folder / "out.jsonl").read_text() == ""
    assert b"; stopped after 0 inputs, the rest of functions.py:ten was not read" in done.stderr


def test_ctrl_c_while_importing(cli: Cli) -> None:
    cli.write("slow.py", "import time, sys\nprint('here', flush=True)\ntime.sleep(3600)\n")
    with ended(cli.start("run", "slow.py:f", "--input", "functions.py:ten")) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == b"here\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130
    assert err.decode().strip() == "error: interrupted before any call"
