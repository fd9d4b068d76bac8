"""What is counted over all calls of a trace: percentiles, who is slowest, steps over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gilscope.view.model import PARTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from gilscope.view.model import Piece, RustPoll, Trace, Work


@dataclass(slots=True)
class Row:
    """One part over all calls, in nanoseconds. A call without the part counts as none of it."""

    name: str
    p50: int
    p90: int
    p99: int
    max: int
    sum: int
    share: float
    """Of the time of all calls, 0 to 1."""


def rows(calls: Sequence[Work]) -> list[Row]:
    """`call` itself, then its parts in the order of its life; there has to be a call."""
    values: dict[str, list[int]] = {"call": [], **{part: [] for part in PARTS}}
    for call in calls:
        values["call"].append(call.duration)
        took = call.parts()
        for part in PARTS:
            values[part].append(took.get(part, 0))
    whole = sum(values["call"]) or 1
    return [_row(name, sorted(took), whole) for name, took in values.items()]


def _row(name: str, took: list[int], whole: int) -> Row:
    total = sum(took)
    p50, p90, p99 = (quantile(took, share) for share in (0.5, 0.9, 0.99))
    return Row(name, p50, p90, p99, took[-1], total, total / whole)


def quantile(ordered: Sequence[int], share: float) -> int:
    """The least value that `share` of them do not exceed."""
    rank = -int(-share * len(ordered) // 1)
    return ordered[min(max(rank, 1), len(ordered)) - 1]


@dataclass(slots=True)
class Wake:
    """A poll in which a call or task was woken."""

    waker: Work | RustPoll
    """Another call or task; the poll itself, if it is one of the Rust future that was awaited."""
    at: int
    """When, within that poll."""
    woken: Work
    poll: Piece
    """The poll that followed."""


def wakes(works: Sequence[Work], rust: Sequence[RustPoll]) -> list[Wake]:
    """Every wake of one of `works` by another one of them or one of `rust`, where it is known."""
    polls: dict[str, tuple[Work | RustPoll, Piece | RustPoll]]
    polls = {poll.id: (poll, poll) for poll in rust if poll.id}
    for work in works:
        polls.update((p.id, (work, p)) for p in work.pieces if p.kind == "poll" and p.id)
    found: list[Wake] = []
    for work in works:
        wake: int | None = None
        for piece in work.pieces:
            waker = polls.get(piece.woken_by or "")
            if waker is not None:
                by, cause = waker
                at = cause.end if wake is None else wake
                # Stamps are rounded, and an arrow has to begin within its slice.
                at = max(min(at, cause.end - 1), cause.start)
                found.append(Wake(by, at, work, piece))
            wake = piece.wake
    return found


def not_ok(calls: Iterable[Work]) -> dict[str, int]:
    """How many calls have each status that is not ok, the most frequent first."""
    counts: dict[str, int] = {}
    for call in calls:
        if call.status != "ok":
            counts[call.status] = counts.get(call.status, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def slowest(calls: Iterable[Work], count: int) -> list[Work]:
    """The `count` calls that took longest, the longest first."""
    return sorted(calls, key=lambda call: (-call.duration, call.start))[:count]


def steps(changes: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """What +1 and -1 at their times come to: pairs of time and value, one for each change."""
    found: list[tuple[int, int]] = []
    value = 0
    for at, change in sorted(changes):
        value += change
        if found and found[-1][0] == at:
            found[-1] = (at, value)
        else:
            found.append((at, value))
    return [pair for i, pair in enumerate(found) if i == 0 or found[i - 1][1] != pair[1]]


def in_flight(trace: Trace) -> list[tuple[int, int]]:
    """How many calls there were, from when they were asked for until their outcome was taken.

    One of which the file has parts alone counts as long as it is known to have been there.
    """
    calls = [*trace.calls, *(work for work in trace.open if work.kind == "call")]
    return steps(change for call in calls for change in ((call.start, 1), (call.end, -1)))


def queue_depth(trace: Trace) -> list[tuple[int, int]]:
    """How many calls the queue had taken and no loop thread had yet looked at."""
    return steps(change for call in trace.calls for change in _in_queue(call))


def _in_queue(call: Work) -> list[tuple[int, int]]:
    waits = [piece for piece in call.pieces if piece.kind in ("queued", "gil.wait")]
    spans = [(piece.start, piece.end) for piece in waits if piece.end > piece.start]
    return [change for start, end in spans for change in ((start, 1), (end, -1))]
