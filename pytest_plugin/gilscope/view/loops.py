"""What loop threads did: turns, the processor's time in them, and waits for the GIL before."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gilscope.view.model import Lane, Piece, Trace, Turn, Work


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
    first: int = 0
    """The time of its first turn, if that is in the file."""

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
    longest, first = max(waits, default=0), sum(t.end - t.start for t in turns if t.first)
    return Loop(lane, len(turns), held, cpu, sum(waits) if waits else None, longest, first)


class Starts:
    """When threads of loops began, of those whose first turn the file has.

    A call that came before, or in that turn, waits for no queue and for no GIL, whatever its parts
    are called: the thread is not there, or is busy with what it does first.
    """

    def __init__(self, trace: Trace) -> None:
        self.turns: dict[Lane, Turn] = {}
        """The first turn of each."""
        for lane, turns in trace.turns.items():
            self.turns.update((lane, turn) for turn in turns if turn.first)
        self.since: dict[Lane, int] = {}
        """From when on a call waited for the thread, if one came before it."""
        self._took: dict[str, int] = {}
        for call in (*trace.calls, *trace.open) if self.turns else ():
            for piece in call.pieces:
                if self.waits(call, piece):
                    self._add(call, piece)

    def _add(self, call: Work, piece: Piece) -> None:
        if call.ended:
            self._took[piece.kind] = self._took.get(piece.kind, 0) + piece.end - piece.start
        since = self.since.get(call.lane, self.turns[call.lane].start)
        if piece.start < since:
            self.since[call.lane] = piece.start

    def waits(self, work: Work, piece: Piece) -> bool:
        """Whether it is a wait of a call for its loop's thread to begin."""
        if work.kind != "call" or piece.kind not in ("queued", "gil.wait"):
            return False
        first = self.turns.get(work.lane)
        return first is not None and piece.start < min(first.end, piece.end)

    def readies(self, work: Work, piece: Piece) -> bool:
        """Whether a call that came before waits for the end of what a thread does first."""
        first = self.turns.get(work.lane)
        if first is None or piece.kind != "ready" or work.kind != "call":
            return False
        return first.start <= piece.start < min(first.end, piece.end)

    def within(self, kind: str) -> int:
        """How much of that part of all calls that ended was a wait for a thread."""
        return self._took.get(kind, 0)


def gil_waits(trace: Trace) -> dict[Lane, list[tuple[int, int]]]:
    """When each loop thread waited for the GIL, in order: as its turns say, else the calls."""
    # What was before the picture begins is not in it.
    zero, _ = trace.bounds()
    found = {lane: _before(turns, zero) for lane, turns in trace.turns.items()}
    # Those of calls may lie across a turn's, and slices of one track may not.
    told = {lane for lane, waits in found.items() if waits}
    for call in (*trace.calls, *trace.open):
        for piece in call.pieces if call.lane not in told else ():
            if piece.kind == "gil.wait" and piece.end > piece.start:
                # One wait of the thread, however many calls it let in.
                own = found.setdefault(call.lane, {})
                since, said = own.get(piece.end, (piece.start, False))
                own[piece.end] = (since if said else min(piece.start, since), said)
    return {
        lane: sorted((since, end) for end, (since, _) in own.items() if since < end)
        for lane, own in found.items()
    }


def _before(turns: Iterable[Turn], last: int) -> dict[int, tuple[int, bool]]:
    """By its end, since when, and that a turn says so; of waits since `last`."""
    found: dict[int, tuple[int, bool]] = {}
    for turn in turns:
        if turn.gil_wait is not None:
            found[turn.start] = (max(turn.start - turn.gil_wait, min(last, turn.start)), True)
        last = turn.end
    return found


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
