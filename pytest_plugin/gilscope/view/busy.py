"""Why a call waited for its turn: what else ran on its loop, or that the loop's thread started."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING

from gilscope._units import counted, duration
from gilscope.view.loops import Starts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gilscope.view.model import Lane, Piece, Trace, Work

STARTED = "the loop thread started"
"""The reason of a wait for a thread that was not there yet."""
_FIRST = "in the first turn of the loop thread"
_WAITS = ("queued", "gil.wait", "ready")
_BEGIN = itemgetter(0)


_Poll = tuple[int, int, "Work"]
"""From when until when, and whose."""


class Busy:
    """What each loop polled while `calls` were there, by time."""

    def __init__(self, trace: Trace, calls: Sequence[Work]) -> None:
        self._starts = Starts(trace)
        self._polls: dict[Lane, list[_Poll]] = {}
        asked = _stretches(calls)
        begins = [start for start, _ in asked]
        for work in (*trace.calls, *trace.tasks, *trace.open):
            before = bisect_left(begins, work.end)
            if before and asked[before - 1][1] > work.start:
                own = self._polls.setdefault(work.lane, [])
                own += ((p.start, p.end, work) for p in work.pieces if p.kind == "poll")
        # The latest end so far: a poll may lie within another one.
        self._latest: dict[Lane, list[int]] = {}
        for lane, polls in self._polls.items():
            polls.sort(key=_BEGIN)
            self._latest[lane] = list(accumulate((end for _, end, _ in polls), max))

    def why(self, work: Work, piece: Piece) -> str:
        """The reason of a wait for its turn, as far as the trace has it; else nothing."""
        if piece.kind not in _WAITS:
            return ""
        said = [STARTED] if self._starts.waits(work, piece) else []
        if self._starts.readies(work, piece):
            said = [_FIRST]
        if piece.kind != "gil.wait" and (others := self._others(work, piece)):
            longest = max(others, key=lambda poll: _within(poll, piece))
            took = duration(_within(longest, piece))
            ran = counted(len(others), "other poll")
            said.append(f"before its turn: {ran} ran, the longest `{longest[2].name}` {took}")
        return ", ".join(said)

    def _others(self, work: Work, piece: Piece) -> list[_Poll]:
        polls = self._polls.get(work.lane, [])
        first = bisect_right(self._latest.get(work.lane, []), piece.start)
        last = bisect_left(polls, piece.end, key=_BEGIN)
        found = polls[first:last]
        return [poll for poll in found if _within(poll, piece) > 0]


def _within(poll: _Poll, piece: Piece) -> int:
    return min(poll[1], piece.end) - max(poll[0], piece.start)


def _stretches(calls: Sequence[Work]) -> list[tuple[int, int]]:
    """When one of them was there, or what was made in it; they do not overlap."""
    found: list[tuple[int, int]] = []
    works = list(calls)
    for work in works:  # which grows meanwhile
        works += work.children
    for start, end in sorted((work.start, work.end) for work in works):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def longest_poll(trace: Trace) -> tuple[Work, Piece] | None:
    """The poll that took longest, and whose it is."""
    works = (*trace.calls, *trace.tasks, *trace.open)
    polls = ((work, piece) for work in works for piece in work.pieces if piece.kind == "poll")
    return max(polls, key=lambda one: one[1].end - one[1].start, default=None)
