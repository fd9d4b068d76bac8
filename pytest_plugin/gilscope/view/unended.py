"""Calls and tasks whose end is not in the file: the trace ended before they did, or it was lost.

A call is written when it ends, so the file says little of one that has not. Three things are
known: one whose loop was given up, or that was open at the exit, is there and has the flag
`unfinished`; of others there may be parts (polls that were many, tasks that ended, polls of Rust
futures that they await); and a turn says how many it polled, which may be more than the file has.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from gilscope._units import counted, duration
from gilscope.view.model import Piece, Work, near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.view.model import Lane, Trace

UNFINISHED = "unfinished"
"""The flag of what was open when its loop was given up."""
NOT_ENDED = "not ended"
"""The status of what the file has parts of alone."""


def open_work(own: str, call: str | None, name: str | None, lane: Lane, first: Piece) -> Work:
    """A call or task that is known by a part of it."""
    kind = "call" if call in (None, own) else "task"
    made = Work(kind, own, name or kind, first.start, first.end, NOT_ENDED, lane)
    made.call, made.begun, made.ended = call or own, False, False
    return made


def take_early(work: Work, piece: Piece) -> None:
    """A part of one that is not in the file, so far."""
    work.pieces.append(piece)
    work.polls += piece.kind == "poll"
    work.start, work.end = min(work.start, piece.start), max(work.end, piece.end)


def find_open(trace: Trace) -> None:
    """Complete `trace.open` with calls that others name, and count those that nobody does."""
    known = {work.id: work for work in (*trace.calls, *trace.tasks, *trace.open)}
    found: dict[str, Work] = {}
    for call, lane, start, end in _named(trace):
        if call in known:
            continue
        seen = found.setdefault(call, open_work(call, call, None, lane, Piece("", start, end)))
        seen.start, seen.end = min(seen.start, start), max(seen.end, end)
    trace.open += found.values()
    for work in (*trace.calls, *trace.open):
        _without_callback(work)
    trace.unseen = _unseen(trace)


def _named(trace: Trace) -> Iterator[tuple[str, Lane, int, int]]:
    """Calls that were there for certain, and from when until when."""
    for task in (*trace.tasks, *(work for work in trace.open if work.kind == "task")):
        if task.call:
            # It may outlive its call.
            yield task.call, task.lane, task.start, task.start
    loops = {lane[0]: lane for lane in reversed(trace.lanes())}
    for poll in trace.rust:
        yield poll.call or poll.owner, loops.get(poll.lane[0], poll.lane), poll.start, poll.end


def _without_callback(work: Work) -> None:
    """What the file calls `callback` of one without an end is all the time since its last poll."""
    if not work.ended:
        work.pieces = [piece for piece in work.pieces if piece.kind != "callback"]


def _unseen(trace: Trace) -> int:
    """How many were polled in one turn of a loop, beyond those that the file has.

    The first turn in the file may have polled calls that ended before the trace began.
    """
    works = [*trace.calls, *trace.tasks, *trace.open]
    if any(work.totals for work in works):
        return 0  # no polls were recorded
    polled = _polled(trace, works)
    missing = 0
    for lane, turns in trace.turns.items():
        later = range(0 if turns[0].first else 1, len(turns))
        most = max((turns[i].calls - polled.get((lane, i), 0) for i in later), default=0)
        # One that the file has parts of may lack just the polls in that turn.
        known = sum(not work.ended and work.lane == lane for work in works)
        missing += max(most - known, 0)
    return missing


def _polled(trace: Trace, works: list[Work]) -> dict[tuple[Lane, int], int]:
    """How many works were polled in each turn."""
    for turns in trace.turns.values():
        turns.sort(key=lambda turn: turn.start)
    starts = {lane: [turn.start for turn in turns] for lane, turns in trace.turns.items()}
    counts: dict[tuple[Lane, int], int] = {}
    for work in works:
        own = starts.get(work.lane, [])
        polls = (piece.start for piece in work.pieces if piece.kind == "poll")
        for number in {bisect_right(own, start) - 1 for start in polls}:
            counts[work.lane, number] = counts.get((work.lane, number), 0) + 1
    return counts


def unended(trace: Trace) -> list[Work]:
    """Calls without an end, the longest-lived first."""
    calls = [work for work in (*trace.calls, *trace.open) if work.kind == "call" and not work.ended]
    return sorted(calls, key=lambda call: (call.start, call.id))


def ended(trace: Trace) -> list[Work]:
    """The calls whose whole life is in the file."""
    return [call for call in trace.calls if call.ended]


def headline(trace: Trace) -> str:
    """How many there are; empty if nothing is known of any."""
    count, more = len(unended(trace)), trace.unseen
    known = counted(count, "call") if count else ""
    unseen = f"at least {more:,}{' more' if count else ''} of which the file has nothing"
    return ", and ".join(text for text in (known, unseen if more else "") if text)


def lacking(trace: Trace) -> list[str]:
    """What the file does not say of them, each in one line."""
    said = []
    if any(not call.begun for call in unended(trace)):
        said.append("seen: the file has parts of the call alone, neither its begin nor its end")
    if trace.unseen:
        said.append("of which it has nothing: turns polled more calls and tasks than the file has")
    if trace.cut and (said or unended(trace)):
        said.append("the file is cut off: others may have been open of which nothing is in it")
    elif said:
        # Lines that are whole do not say whether more should follow.
        count = len(unended(trace)) + trace.unseen
        one, many = ("call or task", "calls or tasks") if trace.unseen else ("call", "calls")
        were = f"1 {one} was" if count == 1 else f"{count:,} {many} were"
        said.append(
            f"the file may have been cut off while at least {were} open,"
            " by a kill say; else the trace ended then"
        )
    return said


def life(call: Work, zero: int) -> str:
    """For how long it was there, and what it did last, as far as the file says."""
    since, took = duration(max(call.start - zero, 0)), duration(call.duration)
    began = f"{took}, began at {since}" if call.begun else f"seen for {took}, from {since} on"
    return f"{began}; {'; '.join(_last(call)) or 'what it did is not in the file'}"


def _last(call: Work) -> Iterator[str]:
    last = call.pieces[-1] if call.pieces else None
    if last is None:
        return
    if call.begun and last.end >= call.end:
        which = f" {last.number}" if last.kind == "poll" and last.number else ""
        yield f"in {last.kind}{which}, for {duration(last.end - last.start)}"
    elif call.begun:
        yield f"not polled for the last {duration(call.end - last.end)}"
    waits = [piece for piece in call.pieces if piece.kind == "suspended"]
    if waits and (waits[-1].at or waits[-1].awaits):
        where = f" at {near(waits[-1].at)}" if waits[-1].at else ""
        what = f"{',' if where else ''} {waits[-1].awaits}" if waits[-1].awaits else ""
        yield f"awaited before its last known poll{where}{what}"
    elif waits or last.end < call.end:
        yield "where it awaited is not in the file"
