"""What `gilscope view` prints."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .conftest import gilscope
from .traces import Lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_findings_come_first_then_trees_then_percentiles(tmp_path: Path) -> None:
    lines = Lines()
    slow = lines.work("app.slow", 0, (("enqueue", 1), ("poll", 2999)))
    lines.work("app.quick")
    lines.finding(100, 50, call=slow, stack=["app.py:3 in hold"])
    lines.write(tmp_path / "t.jsonl")
    out = gilscope("view", "t.jsonl", "--slowest", "1", cwd=tmp_path).stdout
    order = [
        "2 calls in 3.00 ms",
        "GS02 gil_held  worker held the GIL for 50 µs",
        "app.py:3 in hold",
        f"      call {slow}",
        "hint: release it",
        "the slowest call of 2",
        "app.slow  3.00 ms",
        "part of a call",
        "next: gilscope view t.jsonl --html",
    ]
    found = [out.index(text) for text in order]
    assert found == sorted(found)
    assert "app.quick" not in out
    assert out.splitlines()[-1] == order[-1]


def test_what_failed_is_named_with_its_error_and_where(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.slow", 0, (("poll", 9_000),))
    late = {"status": "deadline", "error": {"type": "DeadlineExceeded", "message": "after 1 s"}}
    lines.work("app.late", 1, **late)
    bad = {"status": "error", "error": {"type": "ValueError", "message": "no\n1"}}
    first = lines.work("app.bad", 2, **bad)
    lines.work("app.bad", 3, status="error", error={"type": "ValueError", "message": "no 2"})
    for name in ("app.more", "app.other"):
        lines.work(name, 4, status="cancelled")
    lines.work("app.open", 5, status="cancelled_by_shutdown", flags=["unfinished"])
    lines.write(tmp_path / "t.jsonl")
    out = gilscope("view", "t.jsonl", "--slowest", "1", cwd=tmp_path).stdout
    findings, section, not_ended, *_ = out.split("\n\n")[1:]
    assert findings == "findings: none in this trace"
    head, *said = section.splitlines()
    assert head == "not ok, the first of each kind"
    assert said[:3] == [
        f"  app.bad  error (the first of 2), id {first}",
        "      ValueError: no 1",
        "      awaited last at /src/app.py:7 in fun",
    ]
    assert said[3].startswith("  app.late  deadline, id ")
    assert said[4] == "      DeadlineExceeded: after 1 s"
    assert said[-1] == "  … and 1 of 1 other kind"
    assert not_ended.startswith("not ended: 1 call")
    # The option that shows all of it; a shell takes the rest of the line for a comment.
    *_, last = out.splitlines()
    assert last == (
        "next: gilscope view t.jsonl --html  # each in full: its filter takes a status, error"
    )


def test_a_trace_without_calls_says_how_to_make_one(tmp_path: Path) -> None:
    lines = Lines()
    lines.turn(6, 120)
    lines.write(tmp_path / "t.jsonl")
    done = gilscope("view", "t.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    *_, why, what = done.stdout.splitlines()
    assert why == "no call was recorded: make some while the trace is open"
    command = "gilscope run FILE.py:FUNCTION --input inputs.jsonl --trace trace.jsonl"
    assert what == f"next: {command}"
    assert gilscope(*command.split()[1:], cwd=tmp_path).stderr.startswith("error: cannot read FILE")


def test_a_tree_names_sides_places_and_shares(tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    lines.write(tmp_path / "t.jsonl")
    out = gilscope("view", "t.jsonl", cwd=tmp_path).stdout
    assert re.search(r"├─ rust gil\.wait +3\.00 µs +0\.3 %", out)
    assert re.search(r"├─ py   poll 1 +100 µs +10\.0 %  ██", out)
    assert re.search(r"├─ wait suspended +800 µs +80\.0 %  █{16} at /src/app\.py:7 in fun, "
                     r"woken 5\.00 µs before its turn", out)  # fmt: skip
    assert re.search(r"└─ rust callback +10\.0 µs +1\.0 %", out)


def test_a_call_of_many_polls_shows_the_longest_and_counts_the_rest(tmp_path: Path) -> None:
    lines = Lines()
    life = tuple(step for i in range(40) for step in (("poll", i + 1), ("suspended", 100 + i)))
    lines.work("app.many", 0, life)
    lines.write(tmp_path / "t.jsonl")
    out = gilscope("view", "t.jsonl", cwd=tmp_path).stdout
    assert out.count("suspended ") == 12 + 1  # and once in the table
    assert "└─ … 68 shorter pieces, 40 of them polls," in out


def test_percentiles_are_those_of_the_calls(tmp_path: Path) -> None:
    lines = Lines()
    for number in range(1, 101):
        lines.work("app.fun", number, (("poll", number),))
    lines.write(tmp_path / "t.jsonl")
    out = gilscope("view", "t.jsonl", cwd=tmp_path).stdout
    assert re.search(r"^call +50\.0 µs +90\.0 µs +99\.0 µs +100 µs +100\.0 %$", out, re.MULTILINE)
    assert re.search(r"^  queued +0 ns +0 ns +0 ns +0 ns +0\.0 %$", out, re.MULTILINE)


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_both_formats_of_a_real_run_are_read(name: str, real: Callable[..., Path]) -> None:
    path = real(name)
    done = gilscope("view", name, cwd=path.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 calls in " in done.stdout
    assert "with 10 tasks" in done.stdout
    assert "not ok: 1 of 5 calls: 1 error\n" in done.stdout
    assert re.search(r"wait suspended .* at shop\.py:\d+ in fetch, awaits \S+, woken", done.stdout)
    assert re.search(r"├─ py   task shop\.child  [\d.]+ ms", done.stdout)


def test_a_run_that_recorded_calls_alone_shows_their_totals(real: Callable[..., Path]) -> None:
    path = real("detail.jsonl", GILSCOPE_DETAIL="call")
    out = gilscope("view", path.name, cwd=path.parent).stdout
    assert re.search(r"─ wait suspended +[\d.]+ ms +[\d.]+ %", out)


def test_names_from_user_code_cannot_move_the_cursor(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("evil\x1b[2J\n\udc80name", place="a\x1b]0;b\x07")
    lines.finding(0, 1, sentence="\x1b[31m\r", hint="\x1b", stack=["\x9b1m"])
    lines.write(tmp_path / "t.jsonl")
    done = gilscope("view", "t.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert {char for char in done.stdout if not char.isprintable()} == {"\n"}
    assert "evil\ufffd[2J\ufffd\ufffdname" in done.stdout


@pytest.mark.parametrize("given", ["nowhere.jsonl", ".", "empty", "foreign", "a\nb"])
def test_bad_input_is_one_line_and_exit_code_2(given: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "foreign").write_text("hello\n")
    done = gilscope("view", given, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: [^\n]+\n", done.stderr)


def test_a_reader_that_leaves_early_is_no_traceback(real: Callable[..., Path]) -> None:
    view = [sys.executable, "-m", "gilscope", "view", str(real("t.jsonl"))]
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(view, stdout=write, stderr=subprocess.PIPE, text=True, timeout=120)
    os.close(write)
    assert done.stderr == ""
