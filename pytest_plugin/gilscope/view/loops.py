"""What loop threads did: turns, the processor's time in them, and waits for the GIL before."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gilscope.view.model import Lane, Trace, Turn, Work


@dataclass(slots=True)
class Loop:
    """One loop thread over a whole trace, in nanoseconds."""

    lane: Lane
    turns: int
    held: int
    """The time of its turns."""
    cpu: int
    waited: int | None
    """For the GIL; None if the file does not say."""
    longest: int

    @property
    def share(self) -> float:
        """Of the time for which it had something to do, the part that it waited for the GIL."""
        waited = self.waited or 0
        return waited / (waited + self.held or 1)


def loops(trace: Trace) -> list[Loop]:
    """Each loop thread that has turns, in order."""
    return [_loop(lane, turns) for lane, turns in sorted(trace.turns.items())]


def _loop(lane: Lane, turns: Sequence[Turn]) -> Loop:
    waits = [turn.gil_wait for turn in turns if turn.gil_wait is not None]
    held, cpu = sum(turn.end - turn.start for turn in turns), sum(turn.cpu for turn in turns)
    return Loop(lane, len(turns), held, cpu, sum(waits) if waits else None, max(waits, default=0))


class Waits:
    """How much of any stretch of time the loop thread of a lane waited for the GIL."""

    def __init__(self, trace: Trace) -> None:
        self._lanes = {lane: _Stretches(turns) for lane, turns in trace.turns.items()}

    def within(self, lane: Lane, start: int, end: int) -> int:
        """Nanoseconds between two moments; 0 if nothing is known."""
        waits = self._lanes.get(lane)
        return waits.before(end) - waits.before(start) if waits else 0

    def within_suspended(self, works: Iterable[Work]) -> int:
        """The same over all that `works` were suspended."""
        pieces = ((w.lane, p) for w in works for p in w.pieces if p.kind == "suspended")
        return sum(self.within(lane, piece.start, piece.end) for lane, piece in pieces)


class _Stretches:
    """Stretches of time that do not overlap, in order."""

    def __init__(self, turns: Iterable[Turn]) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        last = 0
        for turn in turns:
            # A file may have waits that overlap; a loop's own do not.
            start = max(turn.start - (turn.gil_wait or 0), last)
            if start < turn.start:
                self._starts.append(start)
                self._ends.append(turn.start)
            last = max(turn.start, last)
        lengths = (end - start for start, end in zip(self._starts, self._ends, strict=True))
        self._sums = [0, *accumulate(lengths)]

    def before(self, at: int) -> int:
        """How much of them is before that moment."""
        begun = bisect_right(self._starts, at)
        return self._sums[begun] - (max(self._ends[begun - 1] - at, 0) if begun else 0)
