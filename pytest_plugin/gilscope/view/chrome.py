"""Reads Chrome JSON, as gilscope's own sink writes it.

Such a file says less than JSON lines do: parts that took no time are not in it, nor where a task
was made; that is found by the polls, which are on their thread as well.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from gilscope._units import counted
from gilscope.view.errors import BadTrace, Foreign, Refusals
from gilscope.view.fields import (
    Record,
    count,
    error_text,
    inner,
    needed,
    number,
    record,
    text,
    texts,
    time,
)
from gilscope.view.jsonl import finding
from gilscope.view.model import PARTS, Piece, RustPoll, Trace, Turn, Work
from gilscope.view.perfetto import MARK
from gilscope.view.serve import PAGE
from gilscope.view.unended import UNFINISHED, open_work, take_early

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

_OURS = frozenset(("call", "task", "loop", "wake", "finding"))
_PIECES = frozenset(PARTS)


class _Events:
    """Takes one event after the other, in the order of the file."""

    def __init__(self, path: str) -> None:
        self.trace = Trace(path)
        self._threads: dict[int, str] = {}
        self._open: dict[int, Work] = {}
        # Those whose pieces came before them: they were many, or the file ends too early.
        self._early: dict[int, Work] = {}
        self._pieces: dict[int, Piece] = {}
        self._suspended: Piece | None = None
        self._poll: tuple[int, str | None, str] = (-1, None, "")

    def take(self, event: Record) -> None:
        """Raises `Foreign` for what cannot be ours."""
        phase = needed(event, "ph")
        if phase == "M" and text(event, "name") == "thread_name":
            self._threads[_tid(event)] = needed(inner(event, "args"), "name")
        if text(event, "cat") not in _OURS:
            return
        at = time(event, "ts", _US)
        if phase == "b":
            self._begin(event, _local(event), at)
        elif phase == "e":
            self._end(_local(event), at)
        elif phase == "X":
            self._slice(event, at)
        elif phase == "s" and self._suspended is not None:
            self._suspended.wake = at
        elif phase == "i" and event["cat"] == "finding":
            own, _, name = needed(event, "name").partition(" ")
            args = inner(event, "args")
            lasted = count(args, "dur_us", _US)
            said = {"finding": own, "name": name, "start_ns": at, "dur_ns": lasted, **args}
            self.trace.findings.append(finding(said))

    def name(self, events: list[Any]) -> None:
        """Take the names of threads, wherever they stand in the file."""
        for event in events:
            if not isinstance(event, dict) or event.get("name") != "thread_name":
                continue
            args, tid = event.get("args"), event.get("tid")
            name = args.get("name") if isinstance(args, dict) else None
            if event.get("ph") == "M" and isinstance(tid, int) and isinstance(name, str) and name:
                self._threads[tid] = name
        self.trace.threads = dict(self._threads)

    def close(self) -> None:
        """There are no more events."""
        self.trace.open = list(self._early.values())

    def _lane(self, event: Record) -> tuple[int, str]:
        tid = _tid(event)
        return tid, self._threads.get(tid, f"thread {tid}")

    def _begin(self, event: Record, local: int, at: int) -> None:
        args, name = inner(event, "args"), needed(event, "name")
        work = self._open.get(local)
        if work is None and name in _PIECES and "status" not in args:
            self._early_piece(event, local, Piece(name, at, at))
            return
        if work is None:
            own = f"{local:016x}"
            work = Work(event["cat"], own, name, at, at, "ok", self._lane(event))
            work.call = own if work.kind == "call" else text(args, "call")
            work.parent = text(args, "parent")
            work.status, work.trace = text(args, "status") or "ok", text(args, "trace")
            work.polls, work.flags = count(args, "polls"), texts(args, "flags")
            work.error = error_text(args)
            work.ended = UNFINISHED not in work.flags
            if early := self._early.pop(local, None):
                work.pieces = early.pieces
            self._open[local] = work
            (self.trace.calls if work.kind == "call" else self.trace.tasks).append(work)
        elif name in _PIECES:
            piece = Piece(name, at, at)
            self._fill(piece, args)
            work.pieces.append(piece)
            self._pieces[local] = piece
            if piece.kind == "poll" and self._poll[0] == at and work.call is None:
                work.call = self._poll[1]
        else:
            return
        self.trace.spans += 1

    def _early_piece(self, event: Record, local: int, piece: Piece) -> None:
        args, own = inner(event, "args"), f"{local:016x}"
        self._fill(piece, args)
        if (work := self._early.get(local)) is None:
            call = own if text(event, "cat") == "call" else None
            work = open_work(own, call, None, self._lane(event), piece)
            work.kind = "call" if call else "task"
            self._early[local] = work
        if piece.kind == "poll" and self._poll[0] == piece.start:
            _, work.call, work.name = self._poll
        take_early(work, piece)
        self._pieces[local] = piece
        self.trace.spans += 1

    def _fill(self, piece: Piece, args: Record) -> None:
        piece.at, piece.number = text(args, "at"), count(args, "poll")
        piece.id, piece.woken_by = text(args, "id"), text(args, "woken_by")
        piece.cpu = count(args, "cpu_us", _US)

    def _end(self, local: int, at: int) -> None:
        if (piece := self._pieces.pop(local, None)) is not None:
            piece.end = _after(piece.start, at)
            if (work := self._open.get(local) or self._early.get(local)) is not None:
                work.end = max(at, work.end)
            self._suspended = piece if piece.kind == "suspended" else None
        elif (work := self._open.pop(local, None)) is not None:
            work.end = _after(work.start, at)

    def _slice(self, event: Record, at: int) -> None:
        args, name = inner(event, "args"), text(event, "name")
        if name == "loop.turn":
            end = at + count(event, "dur", _US)
            turn = Turn(at, end, count(args, "calls"), count(args, "cpu_us", _US))
            turn.gil_wait = number(args, "gil_wait_us", _US)
            self.trace.turns.setdefault(self._lane(event), []).append(turn)
            self.trace.spans += 1
        elif name == "rust.poll":
            end = at + count(event, "dur", _US)
            future, poll = text(args, "future") or "future", count(args, "poll")
            owner, call = needed(args, "parent"), needed(args, "call")
            lane, own = self._lane(event), text(args, "id")
            self.trace.rust.append(RustPoll(future, at, end, poll, owner, call, lane, own))
            self.trace.spans += 1
        elif name == "poll":
            self._poll = (at, text(args, "call"), text(args, "function") or "call")


# Nanoseconds in the unit of a file's times.
_US = 1000


def _tid(event: Record) -> int:
    tid = number(event, "tid")
    if tid is None:
        raise Foreign("`tid` is missing")
    return tid


def _local(event: Record) -> int:
    try:
        return int(needed(inner(event, "id2"), "local"), 16)
    except ValueError:
        raise Foreign("`local` is no number in hexadecimal") from None


def _after(start: int, at: int) -> int:
    if at < start:
        raise Foreign("it ends before it begins")
    return at


def read_chrome(path: str, file: BinaryIO) -> Trace:
    """Read a whole file of Chrome JSON, or what there is of one that was not closed."""
    raw = file.read()
    if MARK.encode() in raw[-_NAME:]:
        what = "is for Perfetto, written by gilscope view --perfetto"
        raise BadTrace(f"{path} {what}", f"open it in {PAGE}, and view the trace it was made of")
    events = _Events(path)
    trace = events.trace
    foreign = Refusals(path, "event")
    found = list(_events(raw, trace))
    events.name(found)
    for at, event in enumerate(found, 1):
        try:
            events.take(record(event))
        except Foreign as error:
            foreign.add(at, str(error))
    events.close()
    if not trace.spans and not trace.findings:
        if b'"gilscope"' in raw[:_NAME]:
            return trace
        why = f" ({foreign.first})" if foreign.count else ""
        raise BadTrace(f"{path} is no trace of gilscope: its events are another tool's{why}")
    if foreign.count:
        trace.notes.append(foreign.note("none of gilscope's"))
    return trace


# Where the name of the process stands in a file of ours.
_NAME = 4096
# How such a file ends: with the list of its events closed.
_END = re.compile(rb"\]\s*(,\s*\"otherData\".*)?\}?\s*$", re.DOTALL)


def _events(raw: bytes, trace: Trace) -> Iterator[Any]:
    try:
        whole = json.loads(raw)
    except (ValueError, RecursionError):
        events = list(_line_by_line(raw))
        if _END.search(raw, max(len(raw) - _NAME, 0)):
            trace.notes.append("the file is damaged: events that cannot be read are left out")
        else:
            line = raw.count(b"\n") + (not raw.endswith(b"\n"))
            trace.cut_off(len(raw), line, counted(len(events), "event"))
        yield from events
        return
    if not isinstance(whole, dict):
        yield from whole if isinstance(whole, list) else ()
        return
    found = whole.get("traceEvents")
    yield from found if isinstance(found, list) else ()
    other = whole.get("otherData")
    lost = other.get("dropped_spans") if isinstance(other, dict) else None
    if isinstance(lost, int) and lost:
        trace.notes.append(
            f"{lost:,} spans are not in the file, which ends at 400,000 events;"
            " --trace NAME.jsonl takes all"
        )


def _line_by_line(raw: bytes) -> Iterator[Record]:
    """Our sink writes one event a line."""
    for line in raw.splitlines():
        try:
            event = json.loads(line.rstrip().rstrip(b","))
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            yield event
