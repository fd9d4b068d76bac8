"""Findings, the worst first and grouped, with names of threads; and the sections of the text."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

from gilscope.view.findings import grouped
from gilscope.view.payload import Payload
from gilscope.view.reading import read

from .conftest import gilscope
from .traces import Lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HELD = "`{}` waited {} ms for the GIL, which thread `{}` held in `render` (reports.py:{})"
LOOP = (
    "`{}` held the loop for {} ms in one poll, at `crunch` (app.py:12); `app.x` waited 9 ms of it"
)


def viewed(lines: Lines, folder: Path, *args: str) -> str:
    lines.write(folder / "t.jsonl")
    return gilscope("view", "t.jsonl", *args, cwd=folder).stdout


def found(out: str) -> list[str]:
    """The first lines of findings."""
    return re.findall(r"^  (GS\d\d .*)$", out, re.M)


def mixed() -> Lines:
    lines = Lines()
    lines.work()
    loop = {"finding": "GS03", "name": "loop_held", "hint": "split it"}
    lines.finding(0, 70_000, sentence=LOOP.format("app.parse", 70), **loop)
    # Another line of the same function, and another call that waited.
    lines.finding(0, 60_000, sentence=HELD.format("app.a", 60, "reports", 41))
    lines.finding(0, 90_000, sentence=HELD.format("app.b", 90, "reports", 44))
    lines.finding(0, 80_000, sentence=LOOP.format("app.other", 80), **loop)
    lines.finding(0, 50_000, sentence=LOOP.format("app.parse", 50), **loop)
    return lines


def test_the_worst_finding_comes_first_and_its_like_is_counted(tmp_path: Path) -> None:
    out = viewed(mixed(), tmp_path)
    assert (
        "\nfindings: 5, the longest first\n  of each problem and function the file has the first,"
        " and each twice as bad as the last told\n"
    ) in out
    assert found(out) == [
        f"GS02 gil_held  {HELD.format('app.b', 90, 'reports', 44)} (the worst of 2)",
        f"GS03 loop_held  {LOOP.format('app.other', 80)}",
        f"GS03 loop_held  {LOOP.format('app.parse', 70)} (the worst of 2)",
    ]
    assert out.count("hint: split it") == out.count("hint: release it") == 1
    drawn = Payload(read(str(tmp_path / "t.jsonl"))).build()
    counts = [(finding["id"], finding["count"]) for finding in drawn["findings"]]
    # Two more are bands in the picture, and no cards.
    assert counts == [("GS02", 2), ("GS03", 1), ("GS03", 2), ("GS02", 0), ("GS03", 0)]


def test_of_many_functions_the_worst_three_are_spelled_out(tmp_path: Path) -> None:
    lines = mixed()
    for number in range(8):
        sentence = HELD.format("app.c", number, f"thread {number}", 41)
        lines.finding(0, 10 + number, sentence=sentence.replace("render", f"render{number}"))
    out = viewed(lines, tmp_path)
    assert len(found(out)) == 5
    assert "\n  … and more of other functions, shorter: 6 GS02\n" in out


def as_chrome(lines: Lines, *, known: bool) -> str:
    """Findings alone, each with or without how long it took."""
    events = []
    for one in lines.records[:: -1 if known else 1]:  # its order is another one
        if "finding" in one:
            args = {"sentence": one["sentence"], **({"dur_ns": one["dur_ns"]} if known else {})}
            name, at = f"{one['finding']} {one['name']}", one["start_ns"] // 1000
            event = {"ph": "i", "cat": "finding", "name": name, "tid": 0, "ts": at}
            events.append({**event, "args": args})
    return json.dumps({"traceEvents": events})


def test_both_formats_have_findings_in_the_same_order(tmp_path: Path) -> None:
    lines = mixed()
    for at in (9, 3):  # in the file the later one comes first
        sentence = LOOP.format(f"app.f{at}", 70).replace("crunch", f"f{at}")
        lines.finding(at, 70_000, sentence=sentence, finding="GS03", name="loop_held")
    (tmp_path / "t.json").write_text(as_chrome(lines, known=True))
    told = found(viewed(lines, tmp_path, "--slowest", "0"))
    assert told == found(gilscope("view", "t.json", cwd=tmp_path).stdout)
    assert len(told) == 4
    ways = [Payload(read(str(tmp_path / name))).build() for name in ("t.jsonl", "t.json")]
    order = [[one["sentence"] for one in drawn["findings"]] for drawn in ways]
    assert order[0] == order[1]
    cards = [one["sentence"] for one in ways[0]["findings"] if one["count"]]
    assert [one for one in cards if any(one in line for line in told)] == cards[:4]


def test_none_is_called_shorter_or_worst_where_that_is_not_known(tmp_path: Path) -> None:
    lines = mixed()
    for number in range(8):
        sentence = HELD.format("app.c", number, "t", 41).replace("render", f"render{number}")
        lines.finding(0, 10 + number, sentence=sentence)
    (tmp_path / "t.json").write_text(as_chrome(lines, known=False))
    out = gilscope("view", "t.json", cwd=tmp_path).stdout
    assert "\nfindings: 13\n" in out
    assert re.search(r"\n  … and more of other functions: 6 GS02\n", out)
    assert " (one of 2)\n" in out
    assert Payload(read(str(tmp_path / "t.json"))).build()["counting"]["alike"] == "one"


@pytest.mark.parametrize("thread", ["reports", "12345"])
def test_a_thread_is_named_where_the_finding_has_its_name(thread: str, tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    sentence = HELD.format("app.a", 60, 12345, 41)
    lines.finding(0, 60_000, sentence=sentence, thread=thread)
    lines.finding(0, 20_000, sentence=HELD.format("app.b", 20, 12345, 41), thread="12345")
    [said] = found(viewed(lines, tmp_path))
    assert f"which thread `{thread}` held" in said
    every = [one.sentence for one in read(str(tmp_path / "t.jsonl")).findings]
    # The other finding is of the same thread.
    assert all(f"`{thread}` held" in sentence for sentence in every)


def test_a_thread_is_named_by_a_record_that_comes_later_in_the_file(tmp_path: Path) -> None:
    turn = {"ph": "X", "cat": "loop", "name": "loop.turn", "pid": 1, "tid": 7, "ts": 1, "dur": 2}
    said = {"sentence": HELD.format("app.a", 60, 7, 41)}
    finding = {"ph": "i", "cat": "finding", "name": "GS02 gil_held", "pid": 1, "tid": 0, "ts": 3}
    events = [
        {**turn, "args": {"calls": 1, "cpu_us": 1}},
        {**finding, "args": said},
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 7, "args": {"name": "reports"}},
    ]
    (tmp_path / "t.json").write_text(json.dumps({"traceEvents": events}))
    trace = read(str(tmp_path / "t.json"))
    assert trace.lanes() == [(7, "reports")]
    assert "which thread `reports` held" in trace.findings[0].sentence


def test_the_longest_poll_is_named(tmp_path: Path) -> None:
    lines = Lines()
    call = lines.work("app.fun")
    lines.work("app.child", 200, (("ready", 4), ("poll", 23_000)), kind="task", call=call)
    out = viewed(lines, tmp_path)
    assert "\nlongest poll: app.child, 23.0 ms, at 204 µs, task " in out
    assert Payload(read(str(tmp_path / "t.jsonl"))).build()["longest"] == {
        "name": "app.child", "call": call, "at": 204_000, "dur": 23_000_000
    }  # fmt: skip


@pytest.mark.parametrize("how", ["plain", "findings", "turns alone", "no calls", "detail"])
def test_sections_are_an_empty_line_apart_and_none_is_empty(how: str, tmp_path: Path) -> None:
    lines = Lines()
    if how == "detail":
        lines.work("short", 140, (), parts={"poll_ns": 7, "queued_ns": 8})
    elif how in ("plain", "findings"):
        lines.work()
        lines.work("app.other", 50, status="error")
    if how != "plain":
        lines.turn(6, 120)
    if how == "findings":
        lines.finding(0, 10)
    out = viewed(lines, tmp_path, "--slowest", "0" if how == "no calls" else "3")
    assert "\n\n\n" not in out
    sections = out.rstrip("\n").split("\n\n")
    heads = ("findings: 1", "the ", "calls, ", "part of a call", "loop thread ")
    for section in sections:
        if section.startswith(heads):
            assert "\n" in section, section
    assert not out.startswith("\n")
    assert sections[-1].splitlines()[-1].startswith("next: ")


def test_a_long_name_of_a_thread_moves_no_column(tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    lines.turn(0, 10, thread="a-thread-with-quite-a-long-name")
    lines.turn(0, 10, thread="short")
    lines.turn(0, 10, thread="a-name-" * 20)
    out = viewed(lines, tmp_path)
    table = out.split("\n\n")[-2].splitlines()
    rows = [line for line in table if not line.startswith("    ")]
    assert len({len(line) for line in rows}) == 1
    assert any(line.startswith("a-thread-with-quite-a-long-name  ") for line in rows)
    head = next(line for line in out.splitlines() if line.startswith("part of a call"))
    assert head.index("p50") == table[0].index("turns") + 2


def test_the_summaries_of_a_run_agree(real: Callable[..., Path], tmp_path: Path) -> None:
    path = real("t.jsonl")
    rows = [json.loads(line) for line in (path.parent / "rows").read_text().splitlines()]
    failed = sum(not row["ok"] for row in rows)
    out = gilscope("view", path.name, cwd=path.parent).stdout
    assert f"\nnot ok: {failed} of {len(rows)} calls: 1 error\n" in out
    drawn = Payload(read(str(path))).build()
    assert (drawn["count"], drawn["notOk"]) == (len(rows), [("error", failed)])


def test_every_status_that_is_not_ok_is_split_up(tmp_path: Path) -> None:
    lines = Lines()
    for status in ("ok", "error", "deadline", "queue_full", "error", "cancelled_by_caller"):
        lines.work(status=status)
    out = viewed(lines, tmp_path)
    assert (
        "\nnot ok: 5 of 6 calls: 2 error, 1 cancelled_by_caller, 1 deadline, 1 queue_full\n" in out
    )


def test_a_sentence_that_names_nobody_is_told_apart_by_its_words(tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    for took in (10, 30, 20):
        lines.finding(0, took)
    lines.finding(0, 25, sentence="something else")
    lines.finding(0, 5, finding="GS01")
    groups = grouped(read(lines.write(tmp_path / "t.jsonl")).findings)
    each = [(group[0].id, [one.duration // 1000 for one in group]) for group in groups]
    assert each == [("GS02", [30, 20, 10]), ("GS02", [25]), ("GS01", [5])]
