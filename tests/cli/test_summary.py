"""What a run says on stderr."""

from __future__ import annotations

import json
import os
import pty
import re
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from gilscope.cli.summary import _functions, loops_lines, rate_of

from .conftest import TIMEOUT

if TYPE_CHECKING:
    from rich.text import Text

    from .conftest import Cli

PARTS = ["call", "enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback"]


def test_it_has_every_part_of_the_algebra(cli: Cli) -> None:
    err = cli.run("double", "ten").err
    for part in PARTS:
        assert re.search(rf"^ *{re.escape(part)} +[\d,]+ ", err, re.MULTILINE), part
    assert err.startswith("10 calls in ")
    assert re.search(r", [\d,]+ calls/s", err)
    assert "10 inputs: 10 ok, 0 errors, 0 cancelled" in err
    assert re.search(r"^dropped: none \([\d,]+ ring slots read\)$", err, re.MULTILINE)
    assert re.search(r"^\S*double +10 ", err, re.MULTILINE)


def test_it_says_how_long_the_loop_waited_for_the_gil(cli: Cli) -> None:
    err = cli.run("double", "ten").err
    time = r"[\d.]+ (?:ns|µs|ms|s)"
    line = rf"^loop thread: {time} in \d+ turns?, {time} of it CPU; waited {time} for the GIL,"
    line += rf" [\d.]+ % of its time \(longest {time}\)$"
    assert len(re.findall(line, err, re.MULTILINE)) == 1
    assert err.index("\n  callback ") < err.index("\nloop thread: ")


def test_the_sum_of_short_waits_for_the_gil_is_said_and_pointed_out_where_it_is_much() -> None:
    part = {"count": 1, "p50_ns": 1, "p99_ns": 1, "max_ns": 9, "sum_ns": 1}
    parts = {**dict.fromkeys(PARTS, part), "loop.turn": {**part, "sum_ns": 600_000_000}}

    def said(waited: int) -> Text:
        waits = {**part, "max_ns": 4_000_000, "sum_ns": waited}
        (line,) = loops_lines(
            {"parts": parts, "turns": 7, "cpu_ns": 450_000_000, "gil_wait": waits}
        )
        return line

    much = said(200_000_000)
    assert much.plain == (
        "loop thread: 600 ms in 7 turns, 450 ms of it CPU;"
        " waited 200 ms for the GIL, 25.0 % of its time (longest 4.00 ms)"
    )
    assert (much.style, said(20_000_000).style) == ("yellow", "")


def test_the_table_of_functions_calls_cancelled_ones_what_the_lines_above_call_them() -> None:
    times = dict.fromkeys(("p50_ns", "p99_ns", "max_ns", "sum_ns"), 1)
    head, row, _ = _functions([{"name": "app.f", "calls": 20, "errors": 12, **times}])
    assert head.plain.endswith("     not ok")
    assert "errors" not in head.plain
    assert row.plain.endswith(" 12")


def test_quantiles_are_said_to_be_bounds(cli: Cli) -> None:
    err = cli.run("double", "ten").err
    assert len(re.findall("^(?:part of a call|slowest functions) .* p50 ≤ +p99 ≤ ", err, re.M)) == 2
    assert re.search(r"upper bounds,\s+at\s+most\s+12.5 %", cli("run", "--help").out)


@pytest.mark.parametrize(
    ("calls", "seconds", "said"),
    [
        (1_234_567, 1.0, "1,234,567 calls/s"),
        (3, 10.0, "0.3 calls/s"),
        (1, 1.0, "1 call/s"),
        (0, 1.0, "0 calls/s"),
        (5, 0.0, "0 calls/s"),
    ],
)
def test_a_rate_is_said_also_where_it_is_low(calls: int, seconds: float, said: str) -> None:
    assert rate_of(calls, seconds) == said


ERRORS = """
import asyncio
import gilscope

class Outer:
    class Inner(Exception):
        pass

async def raises(x):
    class Local(Exception):
        pass
    if x == 0:
        raise asyncio.CancelledError
    if x == 1:
        await asyncio.Event().wait()
    if x == 2:
        return {1}
    if x == 3:  # of a call of its own, so no row's
        await gilscope.py_runtime().call_async(raises, 4)
    raise [Outer.Inner, Local, gilscope.DeadlineExceeded][x % 3]
"""


@pytest.mark.parametrize("detail", ["off", "full"])
def test_its_errors_are_those_of_the_rows(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, detail: str
) -> None:
    monkeypatch.setenv("GILSCOPE_DETAIL", detail)
    cli.write("raises.py", ERRORS)
    given = "".join(f"{line}\n" for line in ("0", "1", "2", "3", "4", "5", "not JSON"))
    args = ("run", "raises.py:raises", "--input", "-", "--deadline", "0.3")
    done = cli(*args, stdin=given.encode())
    assert "7 inputs: 0 ok, 7 errors, " in done.err
    listed = re.findall(r"^ +([\d,]+)  (\S+)$", done.err, re.MULTILINE)
    types = Counter(row["error"]["type"] for row in done.rows)
    assert {name: int(count) for count, name in listed} == types
    assert types.keys() > {"CallCancelled", "DeadlineExceeded", "Local", "JSONDecodeError"}


def test_one_error_is_no_errors(cli: Cli) -> None:
    assert "1 input: 0 ok, 1 error, 0 cancelled\n" in cli.run("picky", "-", stdin=b"1\n").err


@pytest.mark.parametrize("detail", ["off", "call"])
def test_it_runs_with_less_detail(cli: Cli, monkeypatch: pytest.MonkeyPatch, detail: str) -> None:
    monkeypatch.setenv("GILSCOPE_DETAIL", detail)
    done = cli.run("picky", "ten", "--trace", "t.json")
    assert done.code == 1
    assert [row["ok"] for row in done.rows] == [True, False] * 5
    assert json.loads((cli.folder / "t.json").read_bytes())["traceEvents"]
    assert "5 of 10 inputs failed" in done.err


def test_calls_of_the_table_are_the_inputs(cli: Cli) -> None:
    err = cli.run("picky", "ten").err
    found = re.search(r"^call +([\d,]+) ", err, re.MULTILINE)
    assert found
    assert found[1] == "10"


@pytest.mark.parametrize(
    ("function", "options", "command"),
    [
        ("double", [], "gilscope run functions.py:double --input functions.py:ten --trace "),
        ("double", ["--trace", "t.json"], "gilscope view t.json"),
        ("double", ["--trace", "t.jsonl"], "gilscope view t.jsonl"),
        ("picky", ["--out", "o.jsonl"], "grep "),
    ],
)
def test_its_last_line_is_the_next_command(
    cli: Cli, function: str, options: list[str], command: str
) -> None:
    last = cli.run(function, "ten", *options).err.splitlines()[-1]
    assert last.startswith(f"next: {command}")


def test_chrome_trace(cli: Cli) -> None:
    done = cli.run("double", "ten", "--trace", "t.json")
    assert done.code == 0, done.err
    assert "\ntrace: t.json (gilscope view t.json)\n" in done.err
    trace = json.loads((cli.folder / "t.json").read_bytes())
    events = trace["traceEvents"] if isinstance(trace, dict) else trace
    assert len(events) > 10


def test_json_lines_trace(cli: Cli) -> None:
    done = cli.run("double", "ten", "--trace", "t.jsonl")
    assert done.code == 0, done.err
    assert "\ntrace: t.jsonl (gilscope view t.jsonl)\n" in done.err
    records = [json.loads(line) for line in (cli.folder / "t.jsonl").read_text().splitlines()]
    assert len(records) > 10


def test_no_escape_sequences_without_a_terminal(cli: Cli) -> None:
    done = cli.run("picky", "ten")
    assert "\x1b" not in done.err


@pytest.mark.parametrize("colour", [True, False], ids=["colour", "NO_COLOR"])
def test_terminal(cli: Cli, colour: bool) -> None:
    env = {**os.environ, "TERM": "xterm", "NO_COLOR": "" if colour else "1"}
    args = ("run", "functions.py:picky", "--input", "functions.py:ten", "--out", "o.jsonl")
    err = on_terminal(cli, args, env)
    assert "10 done" in err  # the progress bar
    assert "10 calls" in err
    assert ("\x1b[31m" in err) is colour


EVIL = """
import time

async def evil(x):
    if x == 1:
        raise type("E\\x1b]0;pwn\\x07\\n\\x9b2J", (ValueError,), {})
    time.sleep(0.3)  # a finding, whose sentence has the name

evil.__qualname__ = evil.__name__ = "f\\x1b]0;pwn\\x07\\n\\x9b2J"

def one():
    return [0, 1]

def breaks():
    raise ValueError("\\x1b]0;pwn\\x07\\n\\x9b2J")
    yield
"""


@pytest.mark.parametrize("given", ["one", "breaks"])
def test_names_from_user_code_do_not_reach_the_terminals_controls(cli: Cli, given: str) -> None:
    cli.write("evil.py", EVIL)
    args = ("run", "evil.py:evil", "--input", f"evil.py:{given}", "--out", "o.jsonl")
    drawn = on_terminal(cli, args, {**os.environ, "TERM": "xterm", "NO_COLOR": "1"})
    assert "\ufffd]0;pwn\ufffd" in drawn
    assert not {"\x07", "\x9b"} & set(drawn)
    assert "\x1b]" not in drawn
    if given == "one":
        [function] = re.findall(r"^\S*f\ufffd]0;.*$", drawn, re.MULTILINE)
        assert re.search(r" 2 .* 1\r?$", function)  # in one line with its numbers
        assert re.search(r"^ +1  \S*E\ufffd]0;", drawn, re.MULTILINE)


def on_terminal(cli: Cli, args: tuple[str, ...], env: dict[str, str]) -> str:
    """Run with stderr on a terminal of its own and return what was drawn there."""
    ours, theirs = pty.openpty()
    with cli.start(*args, env=env, stderr=theirs) as process:
        os.close(theirs)
        drawn = b""
        try:
            while chunk := os.read(ours, 1 << 16):
                drawn += chunk
        except OSError:  # what a terminal says when the other end is gone
            pass
        finally:
            os.close(ours)
        process.communicate(timeout=TIMEOUT)
    return drawn.decode()


def test_help_says_what_the_parts_are_and_what_can_be_set(cli: Cli) -> None:
    text = cli("run", "--help").out
    for word in (*PARTS[1:], "GILSCOPE_DETAIL", "GILSCOPE_RING", "GILSCOPE_REDACT"):
        assert re.search(rf"\b{re.escape(word)} ", text), word
    assert "docs/spans.md" in text


def test_help_teaches_with_an_example_that_works(cli: Cli) -> None:
    text = cli("run", "--help").out
    example = text[text.index("Example:\n") + len("Example:\n") : text.index("\n\n  Every input")]
    script = f'gilscope() {{ {os.sys.executable} -m gilscope "$@"; }}\n{example}'  # type: ignore[attr-defined]
    done = os.popen(f"cd {cli.folder} && ({script}) 2>&1")
    text = done.read()
    assert done.close() is None, text
    assert '"result":"slept 0.1 s"' in text
    assert "\n2 calls in " in text
    assert "\nnext: gilscope view trace.jsonl --html\n" in text
