"""Traces made by hand: calls of given pieces, at given times, as JSON lines."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

from gilscope.view.model import Piece, Trace, Turn, Work, put_together

if TYPE_CHECKING:
    from pathlib import Path

START = 1_700_000_000_000_000_000
"""Unix nanoseconds of the first moment."""
US = 1_000

LIFE = (
    ("enqueue", 1),
    ("queued", 2),
    ("gil.wait", 3),
    ("ready", 4),
    ("poll", 100),
    ("suspended", 800),
    ("poll", 80),
    ("callback", 10),
)
"""Part and microseconds: 1,000 in all."""


class Lines:
    """Collects lines; ids count from 1."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self._ids = 0

    def _id(self) -> str:
        self._ids += 1
        return f"{self._ids:016x}"

    def work(
        self,
        name: str = "app.fun",
        at: int = 0,
        life: tuple[tuple[str, int], ...] = LIFE,
        *,
        kind: str = "call",
        place: str = "/src/app.py:7 in fun",
        call: str | None = None,
        **more: Any,
    ) -> str:
        """Add a call (or task) that begins `at` microseconds after the start; returns its id."""
        own = self._id()
        span: dict[str, Any] = {
            "span": kind,
            "call": call or own,
            "id": own,
            "trace": own * 2,
            "parent": call,
            "name": name,
            "start_ns": START + at * US,
            "dur_ns": sum(took for _, took in life) * US,
            "status": "ok",
            "runtime": 1,
            "thread": "loop-1",
        }
        polls = sum(part == "poll" for part, _ in life)
        self.records.append({**span, "polls": polls, **more})
        poll = 1
        for part, took in life:
            piece = {**span, "span": part, "id": self._id(), "parent": own}
            piece.update(start_ns=START + at * US, dur_ns=took * US)
            if part == "suspended":
                poll += 1
                wake = START + (at + took - 5) * US
                piece.update(at=place, poll=poll, wake_ns=wake)
            elif part == "poll":
                piece.update(poll=poll, turn="1")
            self.records.append(piece)
            at += took
        return own

    def turn(self, at: int, took: int, thread: str = "loop-1", **more: Any) -> None:
        self.records.append(
            {
                "span": "loop.turn",
                "call": None,
                "id": self._id(),
                "trace": None,
                "parent": None,
                "name": None,
                "start_ns": START + at * US,
                "dur_ns": took * US,
                "status": "ok",
                "runtime": 1,
                "thread": thread,
                "calls": 1,
                "cpu_ns": took * US,
                **more,
            }
        )

    def rust_poll(self, call: str, number: int, at: int, took: int, **more: Any) -> None:
        """Add a poll of a Rust future that the call awaits."""
        self.records.append(
            {
                "span": "rust.poll",
                "call": call,
                "id": self._id(),
                "trace": call * 2,
                "parent": call,
                "name": "shop.price",
                "start_ns": START + at * US,
                "dur_ns": took * US,
                "status": "ok",
                "runtime": 1,
                "thread": "gilscope-tokio1",
                "poll": number,
                **more,
            }
        )

    def finding(self, at: int, took: int, **more: Any) -> None:
        self.records.append(
            {
                "finding": "GS02",
                "name": "gil_held",
                "call": None,
                "start_ns": START + at * US,
                "dur_ns": took * US,
                "sentence": f"worker held the GIL for {took} µs",
                "hint": "release it",
                **more,
            }
        )

    def text(self) -> str:
        return "".join(json.dumps(record) + "\n" for record in self.records)

    def write(self, path: Path) -> str:
        path.write_text(self.text())
        return str(path)


def many(count: int, *, seed: int = 1) -> Trace:
    """A trace of `count` calls with two tasks each, 64 at once; times like those of a real run."""
    chance = random.Random(seed)
    trace = Trace("many.jsonl")
    lane = (1, "loop-1")
    ends = [0] * 64
    for number in range(count):
        row = min(range(64), key=ends.__getitem__)
        status = "error" if number % 7 == 3 else "ok"
        call = _work("call", f"{chance.getrandbits(64):016x}", ends[row], status, chance)
        call.trace = f"{chance.getrandbits(128):032x}"
        for name in ("child", "other"):
            task = _work("task", f"{chance.getrandbits(64):016x}", call.start, "ok", chance)
            task.name, task.call, task.parent = name, call.id, call.id
            trace.tasks.append(task)
        trace.calls.append(call)
        ends[row] = call.end + chance.randrange(1_000, 100_000)
        poll = call.pieces[4]
        trace.turns.setdefault(lane, []).append(Turn(poll.start, poll.end, 1, 1))
    trace.spans = count
    return put_together(trace)


def _work(kind: str, own: str, start: int, status: str, chance: random.Random) -> Work:
    work = Work(kind, own, "shop.order", start, start, status, (1, "loop-1"), polls=3)
    life = [part for part, _ in LIFE[:-1]] + ["suspended", "poll", "callback"]
    for number, part in enumerate(life if kind == "call" else life[3:7]):
        piece = Piece(part, work.end, work.end + chance.randrange(1_000, 9_000_000))
        if part == "suspended":
            piece.at, piece.wake = f"/home/me/shop.py:{10 + number} in order", piece.end - 900
        work.pieces.append(piece)
        work.end = piece.end
    return work
