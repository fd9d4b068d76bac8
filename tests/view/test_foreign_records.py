"""Files that look like ours and are not: what is wrong is said in one line, whatever they hold."""

from __future__ import annotations

import copy
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gilscope.view.errors import BadTrace
from gilscope.view.payload import Payload
from gilscope.view.perfetto import convert
from gilscope.view.reading import read
from gilscope.view.terminal import lines as terminal_lines

from .conftest import gilscope
from .traces import Lines

if TYPE_CHECKING:
    from pathlib import Path


def our_lines() -> list[dict[str, Any]]:
    """A record of each kind, and the keys that only some have."""
    lines = Lines()
    error = {"type": "ValueError", "message": "no"}
    call = lines.work("app.fun", error=error, status="error", flags=["detached"])
    lines.work("child", 130, (("ready", 2), ("poll", 3)), kind="task", call=call)
    lines.work("short", 140, (), parts={"poll_ns": 7, "queued_ns": 8})
    lines.turn(6, 120)
    lines.rust_poll(call, 1, 20, 5)
    lines.finding(20, 30, call=call, thread="loop-1", stack=["a.py:1 in f"])
    return lines.records


def our_events() -> list[dict[str, Any]]:
    """The same for Chrome JSON."""
    own = {"pid": 1, "tid": 7}
    nested = {**own, "cat": "call", "id2": {"local": "0xa"}}
    error = {"type": "E", "message": "m"}
    said = {"sentence": "held", "hint": "let go", "stack": ["a.py:1 in f"]}
    rust = {"future": "f", "call": f"{10:016x}", "parent": f"{10:016x}", "poll": 1}
    status = {"status": "ok", "polls": 1, "trace": "1" * 32, "flags": ["detached"], "error": error}
    return [
        {"ph": "M", "name": "thread_name", **own, "args": {"name": "loop-1"}},
        {"ph": "X", "cat": "loop", "name": "loop.turn", **own, "ts": 0.5, "dur": 9.5,
         "args": {"calls": 1, "cpu_us": 7.5}},
        {"ph": "b", **nested, "name": "app.fun", "ts": 1, "args": status},
        {"ph": "X", "cat": "loop", "name": "poll", **own, "ts": 2, "dur": 3.5, "args": rust},
        {"ph": "b", **nested, "name": "poll", "ts": 2, "args": {"poll": 1, "id": "p"}},
        {"ph": "e", **nested, "name": "poll", "ts": 5.5, "args": {}},
        {"ph": "b", **nested, "name": "suspended", "ts": 5.5, "args": {"at": "a.py:1 in f"}},
        {"ph": "e", **nested, "name": "suspended", "ts": 7, "args": {}},
        {"ph": "s", "cat": "wake", "name": "wake", "id": "0x1", **own, "ts": 6},
        {"ph": "X", "cat": "loop", "name": "rust.poll", **own, "ts": 3, "dur": 1, "args": rust},
        {"ph": "e", **nested, "name": "app.fun", "ts": 8, "args": {}},
        {"ph": "i", "cat": "finding", "name": "GS02 gil_held", **own, "ts": 3, "args": said},
    ]  # fmt: skip


def as_lines(records: list[Any]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def as_chrome(events: list[Any], other: Any = None) -> str:
    return json.dumps({"traceEvents": events, "otherData": other})


def show(path: Path) -> None:
    """All that the command makes of a file."""
    trace = read(str(path))
    for line in terminal_lines(trace, slowest=1000):
        assert "\n" not in line.plain
    json.dumps(Payload(trace).build(), allow_nan=False)
    convert(trace).text.encode()


LINE = {"span": "call", "id": "a", "name": "f", "start_ns": 1, "dur_ns": 10}


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ({"name": 7}, "`name` is no text"),
        ({"id": None}, "`id` is missing"),
        ({"dur_ns": 1e308}, "`dur_ns` is too large"),
        ({"dur_ns": -1}, "`dur_ns` is negative"),
        ({"start_ns": float("nan")}, "`start_ns` is too large"),
        ({"start_ns": "1"}, "`start_ns` is no number"),
        ({"polls": "x"}, "`polls` is no number"),
        ({"flags": [[]]}, "`flags` is no list of texts"),
        ({"error": [1]}, "`error` is no object"),
        ({"error": {"type": 1}}, "`type` is no text"),
        ({"parts": {"poll_ns": {}}}, "`poll_ns` is no number"),
        ({"thread": ["loop"]}, "`thread` is no text"),
    ],
)
def test_a_line_with_a_wrong_field_is_named_and_left_out(
    wrong: dict[str, Any], why: str, tmp_path: Path
) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(as_lines([LINE, {**LINE, **wrong}]))
    trace = read(str(path))
    [note] = trace.notes
    assert note == f"1 line is no record of gilscope and left out; {path}, line 2: {why}"
    assert [call.name for call in trace.calls] == ["f"]
    path.write_text(as_lines([{**LINE, **wrong}]))
    done = gilscope("view", "t.jsonl", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    [said] = done.stderr.splitlines()
    assert said.startswith("error: t.jsonl is no trace of gilscope: its first line is no span (")
    assert f"(line 1: {why})" in said


@pytest.mark.parametrize(
    ("number", "wrong", "why"),
    [
        (3, {"args": {"status": [1]}}, "`status` is no text"),
        (3, {"args": [1]}, "`args` is no object"),
        (3, {"tid": "main"}, "`tid` is no number"),
        (1, {"tid": [7]}, "`tid` is no number"),
        (2, {"dur": 1e308}, "`dur` is too large"),
        (2, {"args": {"calls": "x"}}, "`calls` is no number"),
        (6, {"ts": 1}, "it ends before it begins"),
        (8, {"id2": {"local": "zz"}}, "`local` is no number in hexadecimal"),
        (10, {"args": {"call": {}, "parent": "a"}}, "`call` is no text"),
        (12, {"args": {"stack": [1]}}, "`stack` is no list of texts"),
    ],
)
def test_an_event_with_a_wrong_field_is_named(
    number: int, wrong: dict[str, Any], why: str, tmp_path: Path
) -> None:
    events = our_events()
    events[number - 1].update(wrong)
    path = tmp_path / "t.json"
    path.write_text(as_chrome(events))
    [note] = read(str(path)).notes
    assert note.endswith(f"{path}, event {number}: {why}")
    show(path)


def test_what_a_chrome_file_says_it_lost_may_be_anything(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    for lost in ("many", [1], {}, float("nan")):
        path.write_text(as_chrome(our_events(), {"dropped_spans": lost}))
        assert read(str(path)).notes == []


ODD = st.sampled_from(
    [*("", "call", "task", "poll", "loop.turn", "rust.poll", "finding", "0xa", "\ud800", "\x1b]0;"),
     *(None, True, [], {}, [[1]], {"a": {}}, -1, 0, 2.5, 1e308, 1 << 62, 1 << 63, 10**400),
     *(float("nan"), float("inf"), "0000000000000001", "0000000000000002", "1" * 5000)]
)  # fmt: skip
VALUES = ODD | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=4,
)


@st.composite
def mutated(draw: st.DrawFn, records: list[dict[str, Any]]) -> list[Any]:
    """Records of which some have other values, lack some, are others, or stand elsewhere."""
    found: list[Any] = copy.deepcopy(records)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(found) - 1))
        how = draw(st.sampled_from(["set", "set", "set", "drop", "copy", "move", "be"]))
        inside = found[at]
        if how == "be":
            found[at] = draw(VALUES)
        elif how == "copy":
            found.append(copy.deepcopy(inside))
        elif how == "move":
            found.insert(draw(st.integers(0, len(found) - 1)), found.pop(at))
        elif isinstance(inside, dict) and inside:
            key = draw(st.sampled_from(sorted(inside)))
            if isinstance(inside[key], dict) and inside[key] and draw(st.booleans()):
                inside = inside[key]
                key = draw(st.sampled_from(sorted(inside)))
            if how == "drop":
                del inside[key]
            else:
                inside[key] = draw(VALUES)
    return found


def test_no_mutated_file_of_lines_is_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"

    @settings(max_examples=600, deadline=None, derandomize=True, database=None)
    @given(mutated(our_lines()))
    def each(records: list[Any]) -> None:
        path.write_text(as_lines(records))
        try_to_show(path)

    each()


def test_no_mutated_file_of_events_is_a_traceback(tmp_path: Path) -> None:
    path = tmp_path / "t.json"

    @settings(max_examples=600, deadline=None, derandomize=True, database=None)
    @given(mutated(our_events()), VALUES)
    def each(events: list[Any], other: Any) -> None:
        path.write_text(as_chrome(events, other))
        try_to_show(path)

    each()


def try_to_show(path: Path) -> None:
    with suppress(BadTrace):
        show(path)
