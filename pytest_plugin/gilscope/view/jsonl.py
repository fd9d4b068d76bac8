"""Reads JSON lines, as docs/spans.md describes them."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

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
from gilscope.view.model import PARTS, Finding, Piece, RustPoll, Trace, Turn, Work
from gilscope.view.unended import UNFINISHED, open_work, take_early

if TYPE_CHECKING:
    from collections.abc import Iterable

_PIECES = frozenset(PARTS)
# What reading JSON raises of a line that is none: also one that nests too deep.
_NO_JSON = (ValueError, RecursionError)
# Nothing of ours in so many lines, and the rest is not read: it may be very long.
_ENOUGH = 20


class _Lines:
    """Takes one line after the other."""

    def __init__(self, path: str) -> None:
        self.trace = Trace(path)
        self._works: dict[str, Work] = {}
        # Those whose pieces came before them: they were many, or the file ends too early.
        self._early: dict[str, Work] = {}

    def take(self, line: Record) -> None:
        """Raises `Foreign` for a line that is none of ours."""
        if "finding" in line:
            self.trace.findings.append(finding(line))
            return
        kind = needed(line, "span")
        start = time(line, "start_ns")
        end = start + count(line, "dur_ns")
        if kind in _PIECES:
            self._piece(line, Piece(kind, start, end))
        elif kind in ("call", "task"):
            self._work(line, kind, start, end)
        elif kind == "loop.turn":
            turn = Turn(start, end, count(line, "calls"), count(line, "cpu_ns"))
            turn.gil_wait = number(line, "gil_wait_ns")
            turn.first = _is_first(text(line, "id")) and not turn.gil_wait
            self.trace.turns.setdefault(_lane(line), []).append(turn)
        elif kind == "rust.poll":
            self._rust_poll(line, start, end)
        else:
            raise Foreign("its `span` is not known")
        self.trace.spans += 1

    def _piece(self, line: Record, piece: Piece) -> None:
        piece.at = text(line, "at")
        piece.wake = number(line, "wake_ns") or None
        piece.number = count(line, "poll")
        piece.cpu = count(line, "cpu_ns")
        piece.id, piece.woken_by = text(line, "id"), text(line, "woken_by")
        owner = needed(line, "parent")
        if work := self._works.get(owner):
            work.pieces.append(piece)
            return
        if (work := self._early.get(owner)) is None:
            call, name = text(line, "call"), text(line, "name")
            work = open_work(owner, call, name, _lane(line), piece)
            work.trace = text(line, "trace")
            self._early[owner] = work
        take_early(work, piece)

    def _rust_poll(self, line: Record, start: int, end: int) -> None:
        name, poll = text(line, "name") or "future", count(line, "poll")
        owner, call = needed(line, "parent"), text(line, "call")
        own, lane = text(line, "id"), _lane(line)
        self.trace.rust.append(RustPoll(name, start, end, poll, owner, call, lane, own))

    def _work(self, line: Record, kind: str, start: int, end: int) -> None:
        own, name = needed(line, "id"), text(line, "name") or kind
        work = Work(kind, own, name, start, end, "ok", _lane(line))
        work.status = text(line, "status") or "ok"
        work.trace, work.parent = text(line, "trace"), text(line, "parent")
        work.call = text(line, "call")
        work.polls = count(line, "polls")
        work.flags = texts(line, "flags")
        work.error = error_text(line)
        parts = inner(line, "parts")
        known = {part: f"{part}_ns" for part in PARTS}
        work.totals = {part: count(parts, key) for part, key in known.items() if key in parts}
        if early := self._early.pop(work.id, None):
            work.pieces = early.pieces
        work.ended = UNFINISHED not in work.flags
        self._works[work.id] = work
        (self.trace.calls if kind == "call" else self.trace.tasks).append(work)

    def end(self) -> None:
        """There are no more lines."""
        self.trace.open = list(self._early.values())


def read_lines(path: str, file: Iterable[bytes]) -> Trace:
    """Read every line; one that is cut off, or is none of ours, is left out and spoken of."""
    lines = _Lines(path)
    foreign = Refusals(path, "line")
    whole, number, size = True, 0, 0
    for number, raw in enumerate(file, 1):
        whole = True
        size += len(raw)
        try:
            lines.take(record(json.loads(raw)))
        except Foreign as error:
            foreign.add(number, str(error))
        except _NO_JSON:
            whole = raw.endswith(b"\n") or not raw.strip()
            if whole and raw.strip():
                foreign.add(number, "it is no JSON")
        if foreign.count == number == _ENOUGH:
            break
    lines.end()
    trace = lines.trace
    if not trace.spans and not trace.findings:
        raise BadTrace(f"{path} is no trace of gilscope: {_no_span(foreign)}", _hint())
    if not whole:
        trace.cut_off(size, number, counted(number - 1 - foreign.count, "line"))
    if foreign.count:
        trace.notes.append(foreign.note("no record of gilscope"))
    return trace


def _no_span(foreign: Refusals) -> str:
    why = f" ({foreign.first})" if foreign.count else ""
    return f"its first line is no span{why}"


def _hint() -> str:
    return "gilscope run … --trace FILE.jsonl writes one"


def _lane(line: Record) -> tuple[int, str]:
    return number(line, "runtime") or 0, text(line, "thread") or "loop"


def _is_first(turn: str | None) -> bool:
    """Whether it is a loop's first turn: the lower half of its id counts them, from 1."""
    return turn is not None and _FIRST.fullmatch(turn) is not None


# The highest bit of a turn's id is set.
_FIRST = re.compile("[89a-f][0-9a-f]{7}00000001")


def finding(line: Record) -> Finding:
    """A finding; what is not known of it is left out, what is not known to us is not read."""
    name = text(line, "name") or ""
    return Finding(
        id=needed(line, "finding"),
        name=name,
        sentence=text(line, "sentence") or name.replace("_", " ") or "found",
        hint=text(line, "hint"),
        call=text(line, "call"),
        thread=text(line, "thread"),
        start=number(line, "start_ns") or None,
        duration=count(line, "dur_ns"),
        stack=texts(line, "stack"),
    )
