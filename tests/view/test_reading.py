"""What a file has to be, and what is said of one that is not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from gilscope.view.errors import BadTrace
from gilscope.view.model import Trace
from gilscope.view.reading import read

from .conftest import gilscope
from .traces import LIFE, START, US, Lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_call_has_its_pieces_in_order_and_they_add_up(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun", 10, error={"type": "ValueError", "message": "no"}, status="error")
    [call] = read(lines.write(tmp_path / "t.jsonl")).calls
    assert [(p.kind, (p.end - p.start) // US) for p in call.pieces] == list(LIFE)
    assert (call.start, call.duration) == (START + 10 * US, 1000 * US)
    assert sum(call.parts().values()) == call.duration
    assert (call.name, call.status, call.error) == ("app.fun", "error", "ValueError: no")
    [suspended] = [piece for piece in call.pieces if piece.kind == "suspended"]
    assert suspended.at == "/src/app.py:7 in fun"
    assert suspended.wake == suspended.end - 5 * US


def test_pieces_may_come_before_their_call(tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    lines.records.append(lines.records.pop(0))
    [call] = read(lines.write(tmp_path / "t.jsonl")).calls
    assert len(call.pieces) == len(LIFE)


def test_tasks_and_inner_calls_are_below_what_made_them(tmp_path: Path) -> None:
    lines = Lines()
    outer = lines.work("outer")
    lines.work("task", 20, (("ready", 1), ("poll", 2)), kind="task", call=outer)
    lines.work("inner", 10, (("enqueue", 1), ("poll", 2)), parent=outer)
    trace = read(lines.write(tmp_path / "t.jsonl"))
    [found] = [call for call in trace.calls if call.name == "outer"]
    assert [child.name for child in found.children] == ["inner", "task"]


def test_a_circle_of_parents_is_no_tree_without_end(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("a", parent="000000000000000a")
    lines.work("b", parent="0000000000000001")
    trace = read(lines.write(tmp_path / "t.jsonl"))
    assert sum(len(call.children) for call in trace.calls) == 0


def test_findings_with_unknown_ids_and_keys_are_read(tmp_path: Path) -> None:
    lines = Lines()
    lines.finding(5, 50, finding="GS99", name="never_seen", news={"a": 1}, stack=["a.py:1 in f"])
    [found] = read(lines.write(tmp_path / "t.jsonl")).findings
    assert (found.id, found.name, found.stack) == ("GS99", "never_seen", ["a.py:1 in f"])
    assert found.duration == 50 * US


def test_a_line_cut_off_is_spoken_of_and_the_rest_is_shown(tmp_path: Path) -> None:
    lines = Lines()
    lines.work("kept")
    lines.work("cut")
    path = tmp_path / "t.jsonl"
    text = lines.text()[:-20]
    path.write_text(text)
    trace = read(str(path))
    assert [call.name for call in trace.calls] == ["kept", "cut"]
    assert len(trace.calls[1].pieces) == len(LIFE) - 1
    where = f"it ends at byte {len(text):,}, in line 18"
    assert trace.cut == f"{path} is cut off: {where}; 17 lines before that were read"


def test_foreign_lines_are_counted_and_left_out(tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    path = tmp_path / "t.jsonl"
    odd = ["[1]", "5", "null", '{"span":"never"}', '{"span":"call"}', "junk"]
    path.write_text(lines.text() + "\n".join(odd) + "\n")
    assert read(str(path)).notes == [
        "6 lines are no record of gilscope and left out;"
        f" the first is {path}, line 10: it is no object"
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"\n \n", "is empty"),
        (b"\x7fELF\0\0", "is a binary file"),
        (b"\x1f\x8b\x08", "is a binary file"),
        (b"print('hello')\n", "its first line is no span"),
        (b"\xff\xfe caf\xe9\n", "its first line is no span"),
        (b'{"a": 1}\n', "its first line is no span"),
        (b'{"span": "call"', "its first line is no span"),
        (b"[" * 100_000, "is another tool's"),
        (b'{"traceEvents": [{"ph": "X", "name": "f", "ts": 1}]}', "another tool's"),
        (b'{"traceEvents": 7}', "another tool's"),
        (b'[{"ph": "X"}, 5]', "another tool's"),
    ],
)
def test_what_is_no_trace_is_refused_in_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "t"
    path.write_bytes(content)
    with pytest.raises(BadTrace) as refused:
        read(str(path))
    assert says in refused.value.message.replace("its events are another", "is another")
    assert "\n" not in refused.value.message


def test_a_chrome_file_that_was_not_closed_is_shown_up_to_there(tmp_path: Path) -> None:
    ours = [
        {"ph": "M", "name": "thread_name", "pid": 1, "tid": 7, "args": {"name": "loop-1"}},
        {"ph": "b", "cat": "call", "name": "app.fun", "id2": {"local": "0xa"}, "tid": 7, "ts": 1,
         "args": {"status": "error", "polls": 1, "error": {"type": "E", "message": "m"}}},
        {"ph": "b", "cat": "call", "name": "poll", "id2": {"local": "0xa"}, "tid": 7, "ts": 2,
         "args": {"poll": 1}},
        {"ph": "e", "cat": "call", "name": "poll", "id2": {"local": "0xa"}, "tid": 7, "ts": 5.5,
         "args": {}},
    ]  # fmt: skip
    said = {"sentence": "held", "hint": "let go", "stack": ["a.py:1 in f"]}
    ours.append({"ph": "i", "cat": "finding", "name": "GS02 gil_held", "ts": 3, "args": said})
    text = '{"displayTimeUnit":"ns","traceEvents":[\n' + ",\n".join(map(json.dumps, ours))
    path = tmp_path / "t.json"
    text += ',\n{"ph":"e","ca'
    path.write_text(text)
    trace = read(str(path))
    [call] = trace.calls
    assert (call.id, call.start, call.end, call.error) == (f"{10:016x}", 1000, 5500, "E: m")
    assert call.lane == (7, "loop-1")
    [found] = trace.findings
    assert (found.id, found.name, found.start) == ("GS02", "gil_held", 3000)
    assert (found.sentence, found.hint, found.stack) == ("held", "let go", ["a.py:1 in f"])
    where = f"it ends at byte {len(text)}, in line 7"
    assert trace.cut == f"{path} is cut off: {where}; 5 events before that were read"


def test_a_chrome_file_that_is_damaged_within_is_not_cut_off(
    real: Callable[..., Path], tmp_path: Path
) -> None:
    text = real("t.json").read_text()
    assert read(str(real("t.json"))).cut is None
    path = tmp_path / "t.json"
    path.write_text(text.replace('"ph":"b"', '"ph":"b', 1))
    trace = read(str(path))
    assert trace.cut is None
    assert trace.notes == ["the file is damaged: events that cannot be read are left out"]


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
@pytest.mark.parametrize("way", [(), ("--html",), ("--perfetto=out.json",)])
def test_a_file_that_is_cut_off_is_shown_and_the_command_fails(
    real: Callable[..., Path], tmp_path: Path, name: str, way: tuple[str, ...]
) -> None:
    raw = real(name).read_bytes()
    cut = raw[: raw.rindex(b'"span"' if name == "t.jsonl" else b'"ph":"X"')]
    line = cut.count(b"\n") + 1
    whole = line - 1 - (name == "t.json")  # which begins with a line of its own
    (tmp_path / name).write_bytes(cut)
    done = gilscope("view", name, *way, cwd=tmp_path)
    assert done.returncode == 1
    [said] = done.stderr.splitlines()
    count = "lines" if name == "t.jsonl" else "events"
    where = f"it ends at byte {len(cut):,}, in line {line:,}"
    assert said == (f"error: {name} is cut off: {where}; {whole:,} {count} before that were read")
    shown = {"": "shop.order", "--html": "page: ", "--perfetto=out.json": "trace: out.json"}
    assert shown["".join(way)] in done.stdout
    assert "Traceback" not in done.stdout


@pytest.mark.parametrize("way", [(), ("--html",), ("--perfetto=out.json",)])
def test_a_file_cut_off_before_its_first_span_is_shown_and_the_command_fails(
    real: Callable[..., Path], tmp_path: Path, way: tuple[str, ...]
) -> None:
    head = real("t.json").read_bytes()[:120]
    (tmp_path / "t.json").write_bytes(head)
    done = gilscope("view", "t.json", *way, cwd=tmp_path)
    assert done.returncode == 1
    [said] = done.stderr.splitlines()
    assert said == (
        "error: t.json is cut off: it ends at byte 120, in line 2; 0 events before that were read"
    )
    assert "make some" not in done.stdout
    assert "next: " in done.stdout


def test_one_event_was_read_and_two_were() -> None:
    trace = Trace("t.json")
    trace.cut_off(100, 3, "1 event")
    assert (
        trace.cut
        == "t.json is cut off: it ends at byte 100, in line 3; 1 event before that was read"
    )
    trace.cut_off(100, 4, "2 events")
    assert (trace.cut or "").endswith("; 2 events before that were read")
