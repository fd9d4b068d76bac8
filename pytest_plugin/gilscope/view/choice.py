"""Which calls are drawn where there are too many, and in how much detail."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, TypeVar

from gilscope.view.model import Piece, Turn
from gilscope.view.numbers import slowest

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gilscope.view.model import Trace, Work

CALLS = 1000
"""As many as can be looked at."""
_Kind = TypeVar("_Kind")
_Turns = tuple[Turn, int, int]


def choose(trace: Trace, limit: int = CALLS) -> list[Work]:
    """All calls, or `limit`: those of findings, failed ones, the slowest, then evenly over time."""
    calls = trace.calls
    if len(calls) <= limit:
        return calls
    each = max(limit // 5, 1)
    found = {finding.call for finding in trace.findings}
    chosen: dict[str, Work] = {}
    for some in (
        evenly([call for call in calls if call.id in found], each),
        evenly([call for call in calls if call.status != "ok"], each),
        slowest(calls, each),
    ):
        chosen.update((call.id, call) for call in some)
    rest = [call for call in calls if call.id not in chosen]
    chosen.update((call.id, call) for call in evenly(rest, limit - len(chosen)))
    return sorted(chosen.values(), key=lambda call: (call.start, call.id))


def evenly(items: Sequence[_Kind], count: int) -> list[_Kind]:
    """At most `count` of `items`, at even distances."""
    if len(items) <= count:
        return list(items)
    return [items[i * len(items) // count] for i in range(count)]


MERGED = "merged"
"""A piece that stands for several which are too short to be drawn one by one."""


def fewer_pieces(pieces: Sequence[Piece], limit: int) -> list[Piece]:
    """At most `limit` or so: the longest as they are, those between them merged.

    The `number` of a merged piece is how many it stands for.
    """
    if len(pieces) <= limit:
        return list(pieces)
    ranked = sorted(range(len(pieces)), key=lambda i: pieces[i].start - pieces[i].end)
    kept = set(ranked[: limit // 2])
    fewer: list[Piece] = []
    for i, piece in enumerate(pieces):
        last = fewer[-1] if fewer else None
        if i in kept:
            fewer.append(piece)
        elif last is not None and last.kind == MERGED:
            last.end, last.number = piece.end, last.number + 1
        else:
            fewer.append(Piece(MERGED, piece.start, piece.end, number=1))
    return fewer


def fewer_turns(turns: Sequence[Turn], limit: int) -> list[_Turns]:
    """At most `limit`: each with how many it stands for, and for how long the GIL was held in it.

    Those with the shortest gaps between them are merged.
    """
    if len(turns) <= limit:
        return [(turn, 1, turn.end - turn.start) for turn in turns]
    gaps = sorted(after.start - turn.end for turn, after in pairwise(turns))
    widest = gaps[len(turns) - limit]
    merged: list[_Turns] = []
    for turn in turns:
        took = turn.end - turn.start
        if merged and turn.start - merged[-1][0].end < widest:
            merged[-1] = _one([merged[-1], (turn, 1, took)])
        else:
            merged.append((turn, 1, took))
    return merged if len(merged) <= limit else _in_halves(merged, limit)


def _in_halves(merged: list[_Turns], limit: int) -> list[_Turns]:
    """All gaps alike: neighbours become one until there are few enough."""
    while len(merged) > limit:
        pairs = [merged[i : i + 2] for i in range(0, len(merged), 2)]
        merged = [_one(pair) for pair in pairs]
    return merged


def _one(pair: list[_Turns]) -> _Turns:
    turns = [turn for turn, _, _ in pair]
    calls, cpu = sum(turn.calls for turn in turns), sum(turn.cpu for turn in turns)
    both = Turn(turns[0].start, turns[-1].end, calls, cpu)
    return both, sum(count for _, count, _ in pair), sum(held for _, _, held in pair)


def fewer_stretches(found: Sequence[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """At most `limit` of these begins and lengths: the longest, in order of time."""
    if len(found) <= limit:
        return list(found)
    return sorted(sorted(found, key=lambda one: -one[1])[:limit])


def fewer_steps(steps: Sequence[tuple[int, int]], limit: int) -> list[tuple[int, int]]:
    """At most `limit`: of each stretch of time the highest value and the last one."""
    if len(steps) <= limit:
        return list(steps)
    start, end = steps[0][0], steps[-1][0]
    stretch = max((end - start) // (limit // 2) + 1, 1)
    fewer: list[tuple[int, int]] = []
    bucket: list[tuple[int, int]] = []
    for step in steps:
        if bucket and (step[0] - start) // stretch != (bucket[0][0] - start) // stretch:
            fewer += _high_and_last(bucket)
            bucket = []
        bucket.append(step)
    return fewer + _high_and_last(bucket)


def _high_and_last(bucket: list[tuple[int, int]]) -> list[tuple[int, int]]:
    high = max(bucket, key=lambda step: step[1])
    return [high] if high is bucket[-1] else [high, bucket[-1]]
