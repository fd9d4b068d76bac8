"""Every input has one row, whatever became of it."""

from __future__ import annotations

import json
import os
import pty
from typing import TYPE_CHECKING

import pytest

from .conftest import TIMEOUT

if TYPE_CHECKING:
    from .conftest import Cli


def lines(*values: object) -> str:
    return "".join(f"{json.dumps(value)}\n" for value in values)


def test_file_of_json_lines(cli: Cli) -> None:
    cli.write("in.jsonl", lines(*range(200)))
    done = cli.run("double", "in.jsonl", "--concurrency", "7")
    assert done.code == 0, done.err
    assert [row["result"] for row in done.rows] == [2 * i for i in range(200)]
    assert all(row["ok"] is True and row["ms"] >= 1 for row in done.rows)


def test_last_line_needs_no_newline(cli: Cli) -> None:
    cli.write("in.jsonl", "1\n2")
    assert [row["result"] for row in cli.run("echo", "in.jsonl").rows] == [1, 2]


def test_standard_input(cli: Cli) -> None:
    done = cli.run("double", "-", stdin=b"1\n2\n3\n")
    assert done.code == 0, done.err
    assert [row["result"] for row in done.rows] == [2, 4, 6]


def test_long_lines_through_a_pipe(cli: Cli) -> None:
    long = "x" * 300_000
    done = cli.run("echo", "-", stdin=lines(long, "short", long).encode())
    assert [row["result"] for row in done.rows] == [long, "short", long]


@pytest.mark.parametrize(
    ("given", "count"), [("ten", 10), ("agen", 20), ("listed", 3)], ids=lambda value: str(value)
)
def test_generator(cli: Cli, given: str, count: int) -> None:
    done = cli.run("double", given)
    assert done.code == 0, done.err
    assert len(done.rows) == count


def test_module_in_the_current_folder(cli: Cli) -> None:
    done = cli("run", "functions:double", "--input", "functions:ten")
    assert done.code == 0, done.err
    assert len(done.rows) == 10


def test_plain_function(cli: Cli) -> None:
    assert [row["result"] for row in cli.run("plain", "listed").rows] == [2, 3, 4]


def test_empty_input(cli: Cli) -> None:
    done = cli.run("double", "-")
    assert (done.code, done.out) == (0, "")


def test_out_file(cli: Cli) -> None:
    out = cli.write("out.jsonl", '{"index":0,"ok":true,"result":1,"ms":0.1}\n' * 100)
    done = cli.run("double", "ten", "--out", "out.jsonl")
    assert (done.code, done.out) == (0, ""), done.err
    assert len(out.read_text().splitlines()) == 10
    assert "rows: out.jsonl" in done.err


def test_a_line_that_is_not_json_gets_an_error_row(cli: Cli) -> None:
    cli.write("in.jsonl", b'1\n{"a":\n\n[NaN]\n"\xff"\n' + b"[" * 100_000 + b"\n2\n")
    done = cli.run("echo", "in.jsonl")
    assert done.code == 1
    assert [row["ok"] for row in done.rows] == [True, False, False, False, False, False, True]
    assert all("not JSON" in row["error"]["message"] for row in done.rows if not row["ok"])
    assert {row["error"]["at"] for row in done.rows if not row["ok"]} == {None}
    assert "JSONDecodeError" in done.err
    assert "5 of 7 inputs failed" in done.err


@pytest.mark.parametrize("kind", ["set", "nan", "bytes", "object"])
def test_a_result_that_json_cannot_hold_gets_an_error_row(cli: Cli, kind: str) -> None:
    done = cli.run("unholdable", "-", stdin=lines(kind).encode())
    assert done.code == 1
    (row,) = done.rows
    assert row["ok"] is False
    assert row["error"]["type"] == "ResultError"
    assert "JSON cannot hold" in row["error"]["message"]
    assert row["error"]["at"] is None  # it is not the function that raised


def test_a_failing_call_gets_an_error_row(cli: Cli) -> None:
    done = cli.run("picky", "ten")
    assert done.code == 1
    assert [row["ok"] for row in done.rows] == [True, False] * 5
    at = f"{place(cli, 'functions.py', 'raise ValueError')} in picky"
    assert done.rows[3]["error"] == {"type": "ValueError", "message": "no 3", "at": at}
    assert "5 of 10 inputs failed" in done.err
    assert "ValueError" in done.err


@pytest.mark.parametrize(
    ("function", "code"),
    [("library", "json.loads"), ("package", "installed.first"), ("builtin", None)],
)
def test_an_error_says_where_in_the_users_code_it_arose(
    cli: Cli, function: str, code: str | None
) -> None:
    (cli.folder / "site-packages").mkdir()
    cli.write("site-packages/installed.py", INSTALLED)
    cli.write("raises.py", RAISES)
    done = cli("run", f"raises.py:{function}", "--input", "functions.py:listed")
    assert done.code == 1, done.err
    at = {json.loads(line)["error"]["at"] for line in done.out.splitlines()}
    assert at == {code and f"{place(cli, 'raises.py', code)} in {function}"}


# A file in a folder of that name counts as installed.
INSTALLED = "def first(x):\n    return [][x]\n"
RAISES = """
import functools, json, sys
sys.path.insert(0, "site-packages")
import installed

async def library(x):
    return json.loads("{")

async def package(x):
    return installed.first(x)

builtin = functools.partial(int, "x")
"""


def place(cli: Cli, file: str, code: str) -> str:
    """The line of the file that has the code."""
    path = cli.folder.resolve() / file
    (number,) = (n for n, line in enumerate(path.read_text().splitlines(), 1) if code in line)
    return f"{path}:{number}"


def test_a_call_that_cancels_itself_fails(cli: Cli) -> None:
    done = cli.run("cancels_itself", "listed")
    assert done.code == 1
    assert [row["ok"] for row in done.rows] == [False] * 3
    at = {row["error"]["at"] for row in done.rows}
    assert at == {f"{place(cli, 'functions.py', 'raise asyncio.CancelledError')} in cancels_itself"}


def test_a_deadline_ends_the_calls_that_take_longer(cli: Cli) -> None:
    done = cli.run("slow_odd", "ten", "--deadline", "0.3")
    assert done.code == 1
    assert [row["ok"] for row in done.rows] == [True, False] * 5
    assert {row["error"]["type"] for row in done.rows if not row["ok"]} == {"DeadlineExceeded"}


def test_strange_text_survives(cli: Cli) -> None:
    strange = ["\ud800", "\u2028", '"\\\x00', "π"]
    done = cli.run("echo", "-", stdin=lines(*strange).encode())
    assert [row["result"] for row in done.rows] == strange


def test_a_generator_that_breaks_keeps_what_it_gave(cli: Cli) -> None:
    done = cli.run("double", "breaks_after_three")
    assert done.code == 1
    assert len(done.rows) == 3
    assert "the generator broke" in done.err
    assert "after 3 inputs" in done.err


def test_prints_of_the_function_stay_out_of_the_rows(cli: Cli) -> None:
    done = cli.run("loud", "listed")
    assert [row["result"] for row in done.rows] == [1, 2, 3]
    assert done.err.count("printed by the function") == 3


def test_what_a_file_prints_when_it_is_loaded_is_no_row(cli: Cli) -> None:
    cli.write("chatty.py", "print('loaded')\nasync def same(x):\n    return x\n")
    done = cli("run", "chatty.py:same", "--input", "functions.py:listed")
    assert sorted(json.loads(line)["result"] for line in done.out.splitlines()) == [1, 2, 3]
    assert done.err.count("loaded") == 1


def test_rows_that_cannot_be_written_end_the_run(cli: Cli) -> None:
    done = cli.run("double", "endless", "--out", "/dev/full")
    assert done.code == 1
    assert "error: cannot write the rows: No space left on device\n" in done.err
    assert "Traceback" not in done.err


def test_whoever_types_inputs_is_told_that_they_are_awaited(cli: Cli) -> None:
    ours, theirs = pty.openpty()
    with cli.start("run", "functions.py:echo", "--input", "-", stdin=theirs) as process:
        os.close(theirs)
        assert process.stderr is not None
        first = process.stderr.readline()
        os.write(ours, b"1\n2\n\x04")
        out, err = process.communicate(timeout=TIMEOUT)
        os.close(ours)
    assert first == b"reading inputs here: one line of JSON each, Ctrl-D ends them\n"
    assert (process.returncode, len(out.splitlines())) == (0, 2), err
    assert b"reading" not in cli.run("echo", "-", stdin=b"1\n").err.encode()
