"""Traces made by hand: calls of given pieces, at given times, as JSON lines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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

    def turn(self, at: int, took: int, thread: str = "loop-1") -> None:
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
