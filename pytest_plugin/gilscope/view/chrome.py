"""Reads Chrome JSON, as gilscope's own sink writes it.

Such a file says less than JSON lines do: parts that took no time are not in it, nor where a task
was made; that is found by the polls, which are on their thread as well.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gilscope.view.errors import BadTrace
from gilscope.view.jsonl import error_text, finding
from gilscope.view.model import PARTS, Piece, RustPoll, Trace, Turn, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import BinaryIO

_OURS = frozenset(("call", "task", "loop", "wake", "finding"))
_PIECES = frozenset(PARTS)


class _Events:
    """Takes one event after the other, in the order of the file."""

    def __init__(self, path: str) -> None:
        self.trace = Trace(path)
        self._threads: dict[int, str] = {}
        self._open: dict[str, Work] = {}
        self._pieces: dict[str, Piece] = {}
        self._suspended: Piece | None = None
        self._poll: tuple[int, str] = (-1, "")

    def take(self, event: Mapping[str, Any]) -> None:
        """Raises `KeyError`, `TypeError` or `ValueError` for what cannot be ours."""
        phase = event["ph"]
        if phase == "M" and event["name"] == "thread_name":
            self._threads[event["tid"]] = str(event["args"]["name"])
        if event.get("cat") not in _OURS:
            return
        at = round(float(event["ts"]) * 1000)
        if phase == "b":
            self._begin(event, event["id2"]["local"], at)
        elif phase == "e":
            self._end(event, event["id2"]["local"], at)
        elif phase == "X":
            self._slice(event, at)
        elif phase == "s" and self._suspended is not None:
            self._suspended.wake = at
        elif phase == "i" and event["cat"] == "finding":
            own, _, name = event["name"].partition(" ")
            said = {"finding": own, "name": name, "start_ns": at, **event.get("args", {})}
            self.trace.findings.append(finding(said))

    def _lane(self, event: Mapping[str, Any]) -> tuple[int, str]:
        return event["tid"], self._threads.get(event["tid"], f"thread {event['tid']}")

    def _begin(self, event: Mapping[str, Any], local: str, at: int) -> None:
        args = event.get("args", {})
        if (work := self._open.get(local)) is None:
            name = f"{int(local, 16):016x}"
            work = Work(event["cat"], name, event["name"], at, at, "ok", self._lane(event))
            work.call = name if work.kind == "call" else None
            work.status, work.trace = args.get("status", "ok"), args.get("trace")
            work.polls, work.flags = args.get("polls", 0), args.get("flags", [])
            work.error = error_text(args.get("error"))
            self._open[local] = work
            (self.trace.calls if work.kind == "call" else self.trace.tasks).append(work)
        elif event["name"] in _PIECES:
            piece = Piece(event["name"], at, at, args.get("at"), None, args.get("poll", 0))
            piece.id, piece.woken_by = args.get("id"), args.get("woken_by")
            work.pieces.append(piece)
            self._pieces[local] = piece
            if piece.kind == "poll" and self._poll[0] == at and work.call is None:
                work.call = self._poll[1]
        else:
            return
        self.trace.spans += 1

    def _end(self, event: Mapping[str, Any], local: str, at: int) -> None:
        if (piece := self._pieces.pop(local, None)) is not None:
            piece.end = at
            self._open[local].end = max(at, self._open[local].end)
            self._suspended = piece if piece.kind == "suspended" else None
        elif (work := self._open.pop(local, None)) is not None:
            work.end = at

    def _slice(self, event: Mapping[str, Any], at: int) -> None:
        args = event.get("args", {})
        if event["name"] == "loop.turn":
            end = at + round(float(event["dur"]) * 1000)
            turn = Turn(at, end, args.get("calls", 0), round(args.get("cpu_us", 0) * 1000))
            self.trace.turns.setdefault(self._lane(event), []).append(turn)
            self.trace.spans += 1
        elif event["name"] == "rust.poll":
            end = at + round(float(event["dur"]) * 1000)
            name, number = str(args.get("future") or "future"), args.get("poll", 0)
            owner, call = str(args["parent"]), str(args["call"])
            poll = RustPoll(name, at, end, number, owner, call, self._lane(event))
            self.trace.rust.append(poll)
            self.trace.spans += 1
        elif event["name"] == "poll":
            self._poll = (at, str(args.get("call")))


def read_chrome(path: str, file: BinaryIO) -> Trace:
    """Read a whole file of Chrome JSON, or what there is of one that was not closed."""
    raw = file.read()
    events = _Events(path)
    trace = events.trace
    foreign = 0
    for event in _events(raw, trace):
        try:
            events.take(event)
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
            foreign += 1
    if not trace.spans and not trace.findings:
        if b'"gilscope"' in raw[:_NAME]:
            return trace
        raise BadTrace(f"{path} is no trace of gilscope: its events are another tool's")
    if foreign:
        trace.notes.append(f"{foreign:,} events are none of gilscope's and left out")
    return trace


# Where the name of the process stands in a file of ours.
_NAME = 4096
# How such a file ends: with the list of its events closed.
_END = re.compile(rb"\]\s*(,\s*\"otherData\".*)?\}?\s*$", re.DOTALL)


def _events(raw: bytes, trace: Trace) -> Iterator[Mapping[str, Any]]:
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError):
        events = list(_line_by_line(raw))
        if _END.search(raw, max(len(raw) - _NAME, 0)):
            trace.notes.append("the file is damaged: events that cannot be read are left out")
        else:
            line = raw.count(b"\n") + (not raw.endswith(b"\n"))
            read = "1 event" if len(events) == 1 else f"{len(events):,} events"
            trace.cut_off(len(raw), line, read)
        yield from events
        return
    if not isinstance(whole, dict):
        yield from whole if isinstance(whole, list) else ()
        return
    found = whole.get("traceEvents")
    yield from found if isinstance(found, list) else ()
    other = whole.get("otherData")
    lost = other.get("dropped_spans", 0) if isinstance(other, dict) else 0
    if lost:
        trace.notes.append(
            f"{lost:,} spans are not in the file, which ends at 400,000 events;"
            " --trace NAME.jsonl takes all"
        )


def _line_by_line(raw: bytes) -> Iterator[Mapping[str, Any]]:
    """Our sink writes one event a line."""
    for line in raw.splitlines():
        try:
            event = json.loads(line.rstrip().rstrip(b","))
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event
