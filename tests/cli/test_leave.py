"""Leaving: a second Ctrl-C, or one while code holds the loop. Files are whole, no row is lost."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import TIMEOUT, rows
from .test_interrupt import ended, wait_for_rows

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from .conftest import Cli

Process = subprocess.Popen[bytes]


def start(cli: Cli, function: str, given: str, trace: str, **kwargs: Any) -> Process:
    """Start a run whose first call returns; the others come to stay."""
    args = ("--out", "out.jsonl", "--trace", trace, "--concurrency", "8")
    given = f"functions.py:{given}"
    return cli.start("run", f"functions.py:{function}", "--input", given, *args, **kwargs)


def lines(process: Process, stream: str) -> Iterator[str]:
    """The lines of a stream of the process, as they come."""
    pipe = getattr(process, stream)
    return iter(lambda: pipe.readline().decode(), "")


def wait_for_line(process: Process, stream: str, words: str) -> None:
    seen = []
    for line in lines(process, stream):
        seen.append(line)
        if words in line:
            return
    raise AssertionError((words, seen))


def end(cli: Cli, process: Process, trace: str, code: int = 130) -> str:
    """Wait for the end; assert that rows and trace are whole. Returns the rest of stderr."""
    _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == code, err
    found = rows((cli.folder / "out.jsonl").read_text())
    assert found[0] == {"index": 0, "ok": True, "result": 0, "ms": found[0]["ms"]}
    assert [row["index"] for row in found] == list(range(len(found)))
    assert {row["error"]["type"] for row in found[1:]} <= {"cancelled"}
    said = err.decode()
    assert f"{len(found) - 1} cancelled; stopped after {len(found)} input" in said
    called = [row for row in found if row["ms"] is not None]
    assert len(calls(cli.folder / trace)) == len(called)
    assert re.search(rf"^{len(called)} calls? in ", said, re.MULTILINE)
    counted = re.search(r"^call +([\d,]+) ", said, re.MULTILINE)
    assert counted
    assert int(counted[1]) == len(called)
    return said


def calls(trace: Path) -> list[str]:
    """The ids of the calls in a trace, which must be whole."""
    text = trace.read_text()
    if trace.suffix == ".jsonl":
        assert text.endswith("\n")
        spans = [json.loads(line) for line in text.splitlines()]
        return [span["id"] for span in spans if span["span"] == "call"]
    events = json.loads(text)["traceEvents"]
    return [e["id2"]["local"] for e in events if e["ph"] == "b" and e.get("args", {}).get("status")]


@pytest.mark.parametrize("function", ["holds", "spins"])
def test_ctrl_c_does_not_wait_for_a_held_loop(cli: Cli, function: str) -> None:
    with ended(start(cli, function, "endless", "t.json")) as process:
        wait_for_rows(process, cli.folder / "out.jsonl", 1)
        wait_for_line(process, "stdout", "holding")
        process.send_signal(signal.SIGINT)
        said = end(cli, process, "t.json")
    waiting = (
        f"waiting for functions.py:{function} that holds the loop; press Ctrl-C again to leave"
    )
    assert said.count(waiting) == 1


@pytest.mark.parametrize("trace", ["t.json", "t.jsonl"])
def test_a_second_ctrl_c_leaves_a_held_loop(cli: Cli, trace: str) -> None:
    with ended(start(cli, "spins", "endless", trace)) as process:
        wait_for_rows(process, cli.folder / "out.jsonl", 1)
        wait_for_line(process, "stdout", "holding")
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "stderr", "press Ctrl-C again to leave now")
        process.send_signal(signal.SIGINT)
        end(cli, process, trace)


@pytest.mark.parametrize("trace", ["t.json", "t.jsonl"])
def test_a_second_ctrl_c_leaves_calls_that_clean_up(cli: Cli, trace: str) -> None:
    with ended(start(cli, "keeps_on", "endless", trace)) as process:
        wait_for_rows(process, cli.folder / "out.jsonl", 1)
        wait_for_line(process, "stdout", "staying")
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "stdout", "cleaning up")
        process.send_signal(signal.SIGINT)
        end(cli, process, trace)


def test_it_says_that_calls_clean_up(cli: Cli) -> None:
    with ended(start(cli, "keeps_on", "endless", "t.json")) as process:
        wait_for_rows(process, cli.folder / "out.jsonl", 1)
        wait_for_line(process, "stdout", "staying")
        process.send_signal(signal.SIGINT)
        expected = "waiting for cancelled calls that clean up; press Ctrl-C again to leave now"
        wait_for_line(process, "stderr", expected)
        process.send_signal(signal.SIGINT)
        end(cli, process, "t.json")


def test_a_second_ctrl_c_leaves_an_async_source_that_cleans_up(cli: Cli) -> None:
    with ended(start(cli, "echo", "swallows_cancel", "t.json")) as process:
        wait_for_rows(process, cli.folder / "out.jsonl", 1)
        wait_for_line(process, "stdout", "waiting")
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "stdout", "swallowed")
        expected = "waiting for functions.py:swallows_cancel that cleans up; press Ctrl-C again"
        wait_for_line(process, "stderr", expected)
        process.send_signal(signal.SIGINT)
        assert "Task was destroyed" not in end(cli, process, "t.json")


@pytest.mark.parametrize("again", [False, True])
def test_ctrl_c_does_not_wait_for_an_async_source_that_holds_its_loop(
    cli: Cli, again: bool
) -> None:
    with ended(start(cli, "echo", "holds_its_loop", "t.json")) as process:
        wait_for_rows(process, cli.folder / "out.jsonl", 1)
        wait_for_line(process, "stdout", "waiting")
        process.send_signal(signal.SIGINT)
        expected = "waiting for functions.py:holds_its_loop that holds its loop; press Ctrl-C again"
        wait_for_line(process, "stderr", expected)
        if again:
            process.send_signal(signal.SIGINT)
        end(cli, process, "t.json")


def test_a_source_that_swallows_ctrl_c_hears_the_second(cli: Cli) -> None:
    with ended(start(cli, "echo", "swallows", "t.json")) as process:
        wait_for_rows(process, cli.folder / "out.jsonl", 1)
        wait_for_line(process, "stdout", "waiting")
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "stdout", "swallowed")
        process.send_signal(signal.SIGINT)
        end(cli, process, "t.json")


def test_a_second_ctrl_c_leaves_rows_that_nobody_reads(cli: Cli) -> None:
    args = ("run", "functions.py:long", "--input", "functions.py:endless")
    with ended(cli.start(*args, "--concurrency", "8")) as process:
        wait_for_line(process, "stderr", "far enough")
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "stderr", "waiting for the rows to be read; press Ctrl-C again")
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "stderr", "error: rows are missing")
        process.wait(TIMEOUT)
    assert process.returncode == 130


FORKS = """
import multiprocessing, time

async def forks(x):
    child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(3600,))
    child.start()
    child.terminate()
    child.join(20)
    child.kill()
    child.join()
    return child.exitcode
"""


def test_a_forked_child_is_ended_by_sigterm(cli: Cli) -> None:
    cli.write("forks.py", FORKS)
    done = cli("run", "forks.py:forks", "--input", "functions.py:ten", "--concurrency", "1")
    assert [row["result"] for row in done.rows] == [-signal.SIGTERM] * 10, done.err


FOREVER = """
async def forever(x):
    async def stay():
        print("staying", flush=True)
        await asyncio.Event().wait()

    return await first_returns(x, stay)
"""


@pytest.mark.parametrize(
    ("signals", "code"),
    [(("TERM",), 143), (("TERM", "TERM"), 143), (("TERM", "INT"), 143), (("INT", "TERM"), 130)],
)
def test_sigterm_does_as_ctrl_c(cli: Cli, signals: tuple[str, ...], code: int) -> None:
    function = "forever" if len(signals) == 1 else "keeps_on"
    cli.write("functions.py", (cli.folder / "functions.py").read_text() + FOREVER)
    with ended(start(cli, function, "endless", "t.json")) as process:
        wait_for_rows(process, cli.folder / "out.jsonl", 1)
        for line, name in zip(("staying", "cleaning up"), signals, strict=False):
            wait_for_line(process, "stdout", line)
            process.send_signal(signal.Signals[f"SIG{name}"])
        end(cli, process, "t.json", code)
