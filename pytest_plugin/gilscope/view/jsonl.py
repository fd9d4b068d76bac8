"""Reads JSON lines, as docs/spans.md describes them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gilscope.view.errors import BadTrace
from gilscope.view.model import PARTS, Finding, Piece, RustPoll, Trace, Turn, Work, text_or_none

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

_PIECES = frozenset(PARTS)
# What a line raises that is JSON (or not even text) and none of ours.
_FOREIGN = (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)
# Nothing of ours in so many lines, and the rest is not read: it may be very long.
_ENOUGH = 20


class _Lines:
    """Takes one line after the other."""

    def __init__(self, path: str) -> None:
        self.trace = Trace(path)
        self._works: dict[str, Work] = {}
        # Pieces that came before what they are pieces of, which a foreign writer may do.
        self._early: dict[str, list[Piece]] = {}

    def take(self, line: Mapping[str, Any]) -> None:
        """Raises `KeyError`, `TypeError` or `ValueError` for a line that is none of ours."""
        if "finding" in line:
            self.trace.findings.append(finding(line))
            return
        kind = line["span"]
        start = int(line["start_ns"])
        end = start + int(line["dur_ns"])
        if kind in _PIECES:
            self._piece(line, Piece(kind, start, end))
        elif kind in ("call", "task"):
            self._work(line, kind, start, end)
        elif kind == "loop.turn":
            turn = Turn(start, end, int(line.get("calls") or 0), int(line.get("cpu_ns") or 0))
            self.trace.turns.setdefault(_lane(line), []).append(turn)
        elif kind == "rust.poll":
            self._rust_poll(line, start, end)
        else:
            raise ValueError(kind)
        self.trace.spans += 1

    def _piece(self, line: Mapping[str, Any], piece: Piece) -> None:
        piece.at = text_or_none(line.get("at"))
        wake = line.get("wake_ns")
        piece.wake = int(wake) if wake else None
        piece.number = int(line.get("poll") or 0)
        piece.id, piece.woken_by = text_or_none(line.get("id")), text_or_none(line.get("woken_by"))
        owner = str(line["parent"])
        if work := self._works.get(owner):
            work.pieces.append(piece)
        else:
            self._early.setdefault(owner, []).append(piece)

    def _rust_poll(self, line: Mapping[str, Any], start: int, end: int) -> None:
        name, number = line.get("name") or "future", int(line.get("poll") or 0)
        call = text_or_none(line.get("call"))
        poll = RustPoll(name, start, end, number, str(line["parent"]), call, _lane(line))
        self.trace.rust.append(poll)

    def _work(self, line: Mapping[str, Any], kind: str, start: int, end: int) -> None:
        work = Work(kind, str(line["id"]), line.get("name") or kind, start, end, "ok", _lane(line))
        work.status = str(line.get("status") or "ok")
        work.trace, work.parent = text_or_none(line.get("trace")), text_or_none(line.get("parent"))
        work.call = text_or_none(line.get("call"))
        work.polls = int(line.get("polls") or 0)
        work.flags = [str(flag) for flag in line.get("flags") or ()]
        work.error = error_text(line.get("error"))
        parts = line.get("parts") or {}
        work.totals = {part: int(parts[f"{part}_ns"]) for part in PARTS if f"{part}_ns" in parts}
        work.pieces = self._early.pop(work.id, [])
        self._works[work.id] = work
        (self.trace.calls if kind == "call" else self.trace.tasks).append(work)


def read_lines(path: str, file: Iterable[bytes]) -> Trace:
    """Read every line; one that is cut off, or is none of ours, is left out and spoken of."""
    lines = _Lines(path)
    foreign, whole, number, size = 0, True, 0, 0
    for number, raw in enumerate(file, 1):
        whole = True
        size += len(raw)
        try:
            lines.take(json.loads(raw))
        except json.JSONDecodeError:
            whole = raw.endswith(b"\n") or not raw.strip()
            foreign += bool(whole and raw.strip())
        except _FOREIGN:
            foreign += 1
        if foreign == number == _ENOUGH:
            break
    trace = lines.trace
    if not trace.spans and not trace.findings:
        raise BadTrace(f"{path} is no trace of gilscope: its first line is no span", _hint())
    if not whole:
        lines_read = number - 1 - foreign
        read = "1 line" if lines_read == 1 else f"{lines_read:,} lines"
        trace.cut_off(size, number, read)
    if foreign:
        verb = "line is" if foreign == 1 else "lines are"
        trace.notes.append(f"{foreign:,} {verb} no record of gilscope and left out")
    return trace


def _hint() -> str:
    return "gilscope run … --trace FILE.jsonl writes one"


def _lane(line: Mapping[str, Any]) -> tuple[int, str]:
    return int(line.get("runtime") or 0), str(line.get("thread") or "loop")


def error_text(error: Any) -> str | None:
    """`Type: message` of what a call raised."""
    if not isinstance(error, dict):
        return text_or_none(error)
    name, message = error.get("type") or "error", error.get("message")
    return f"{name}: {message}" if message else str(name)


def finding(line: Mapping[str, Any]) -> Finding:
    """A finding; what is not known of it is left out, what is not known to us is not read."""
    start = line.get("start_ns")
    stack = line.get("stack")
    name = str(line.get("name") or "")
    return Finding(
        id=str(line["finding"]),
        name=name,
        sentence=text_or_none(line.get("sentence")) or name.replace("_", " ") or "found",
        hint=text_or_none(line.get("hint")),
        call=text_or_none(line.get("call")),
        thread=text_or_none(line.get("thread")),
        start=int(start) if start else None,
        duration=int(line.get("dur_ns") or 0),
        stack=[str(frame) for frame in stack] if isinstance(stack, list) else [],
    )
