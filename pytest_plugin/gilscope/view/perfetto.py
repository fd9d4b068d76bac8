"""A trace as Chrome JSON in the dialect that Perfetto shows best.

Per loop thread a track of slices: `gil.wait`, and `gil.hold` with the polls in it; one for each
other thread that polled Rust futures. Per call and task a track of its parts (`id2.local`: with a
plain `id` everything starts collapsed). Wakes are slices of a track of their own, as an arrow has
to begin in a slice; each leads to its poll. Where it was a poll that woke, an arrow leads from
that one, too, be it of another call or task, or of the Rust future that was awaited.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from gilscope._units import counted
from gilscope.view.choice import fewer_steps
from gilscope.view.loops import Starts, gil_waits
from gilscope.view.numbers import in_flight, queue_depth, wakes
from gilscope.view.unended import NOT_ENDED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gilscope.view.model import Finding, Lane, Piece, RustPoll, Trace, Turn, Work

EVENTS = 400_000
"""About 50 MB, which the page still takes; of more the oldest are left out."""

MARK = '"otherData":{"gilscope": true'
"""What is at the end of every file, and of none that a run itself wrote."""

_PROCESS = 1
# A track whose number is that of the process gets a badge, "main thread".
_FIRST_TRACK = 10
_WAKE_NS = 1000

Event = dict[str, Any]
_Turn = tuple["Lane", "Turn"]


@dataclass(slots=True)
class _Track:
    """A loop thread, and the wakes of what runs there."""

    number: int
    name: str
    wakes: list[tuple[int, int, str]] = field(default_factory=list)
    """When woken, when polled, of what."""

    @property
    def of_wakes(self) -> int:
        return self.number + 1


@dataclass(slots=True)
class Converted:
    """The file's text, and how many calls and tasks are not in it."""

    text: str
    left_out: int


def convert(trace: Trace, limit: int = EVENTS) -> Converted:
    """All of it, or the latest that make `limit` events."""
    zero, _ = trace.bounds()
    maker = _Maker(zero, trace.lanes(), trace.rust_lanes())
    works, left_out = _latest([*trace.calls, *trace.tasks, *trace.open], limit)
    turns, older = _latest_turns(trace, limit // 4)
    events = [*maker.names(trace.path), *maker.without(left_out, older)]
    events += [*maker.turns(turns), *maker.works(works)]
    events += [*maker.starts(Starts(trace)), *maker.waits(gil_waits(trace), limit // 4)]
    shown = {work.id for work in works}
    rust = [poll for poll in trace.rust if poll.owner in shown]
    events += maker.rust_polls(rust)
    events += [*maker.arrows(), *maker.woken(works, rust), *maker.findings(trace.findings)]
    most = limit // 20
    events += maker.counter("calls in flight", fewer_steps(in_flight(trace), most))
    events += maker.counter("queue depth", fewer_steps(queue_depth(trace), most) or [(zero, 0)])
    lines = ",\n".join(map(_line, events))
    other = f'{MARK}, "left_out": {len(left_out)}}}'
    whole = f'{{"displayTimeUnit":"ns","traceEvents":[\n{lines}\n],{other}}}\n'
    return Converted(whole, len(left_out))


def _line(event: Event) -> str:
    text = json.dumps(event, separators=(",", ":"), ensure_ascii=False)
    # Half of a character, as in a file's name that is not UTF-8, is none that the page could read.
    return text.encode("utf-8", "replace").decode()


def _latest(works: list[Work], limit: int) -> tuple[list[Work], list[Work]]:
    """Those that ended last, as far as the limit allows, in order of their begin; the others."""
    works.sort(key=lambda work: -work.end)
    events = 0
    for count, work in enumerate(works):
        events += 2 + 6 * len(work.pieces)
        if events > limit:
            return sorted(works[:count], key=lambda work: work.start), works[count:]
    return sorted(works, key=lambda work: work.start), []


def _latest_turns(trace: Trace, most: int) -> tuple[list[_Turn], list[_Turn]]:
    """The `most` that ended last, and the others."""
    turns = [(lane, turn) for lane, turns in trace.turns.items() for turn in turns]
    turns.sort(key=lambda one: one[1].end)
    first = max(len(turns) - most, 0)
    return turns[first:], turns[:first]


class _Maker:
    def __init__(self, zero: int, lanes: Iterable[Lane], rust_lanes: Iterable[Lane]) -> None:
        self._zero = zero
        self._arrows = 0
        numbers = range(_FIRST_TRACK, 1 << 30, 2)
        self._tracks = {lane: _Track(n, lane[1]) for n, lane in zip(numbers, lanes, strict=False)}
        # Threads without a loop, behind those.
        numbers = range(_FIRST_TRACK + 2 * len(self._tracks), 1 << 30)
        self._rust = dict(zip(rust_lanes, numbers, strict=False))

    def _us(self, ns: int) -> float:
        return (ns - self._zero) / 1000

    def names(self, path: str) -> Iterator[Event]:
        yield _named("process_name", None, name=f"gilscope {path.rpartition('/')[2]}")
        for index, track in enumerate(self._tracks.values()):
            for number, name in ((track.number, track.name), (track.of_wakes, "wakes")):
                shown = name if number == track.number else f"{track.name}: wakes"
                yield _named("thread_name", number, name=shown)
                order = 2 * index + number - track.number
                yield _named("thread_sort_index", number, sort_index=order)

        for order, (lane, number) in enumerate(self._rust.items(), 2 * len(self._tracks)):
            yield _named("thread_name", number, name=lane[1])
            yield _named("thread_sort_index", number, sort_index=order)

    def without(self, left_out: Sequence[Work], turns: Sequence[_Turn]) -> Iterator[Event]:
        """A mark over the time of those that are not in the picture, until the last of them ended.

        A slice, whose text is seen without a click: beside an instant of the whole trace the page
        shows the process closed.
        """
        older: list[Work | Turn] = [*left_out, *(turn for _, turn in turns)]
        if not older:
            return
        calls = sum(work.kind == "call" for work in left_out)
        counts = ((calls, "call"), (len(left_out) - calls, "task"), (len(turns), "turn"))
        *most, last = (counted(count, word) for count, word in counts if count)
        name = f"{', '.join(most)}{' and ' if most else ''}{last} left out"
        for phase, at in (("b", min(o.start for o in older)), ("e", max(o.end for o in older))):
            yield self._nested(phase, "left out", name, "left out", _FIRST_TRACK, at, {})

    def rust_polls(self, rust: Iterable[RustPoll]) -> Iterator[Event]:
        for poll in rust:
            args = {"future": poll.name, "call": poll.call or poll.owner, "poll": poll.number}
            if track := self._track(poll.lane):
                yield self._slice("rust.poll", track, poll.start, poll.end, args)

    def _track(self, lane: Lane) -> int | None:
        loop = self._tracks.get(lane)
        return loop.number if loop else self._rust.get(lane)

    def turns(self, turns: Iterable[_Turn]) -> Iterator[Event]:
        for lane, turn in turns:
            args = {"calls": turn.calls, "cpu_us": turn.cpu / 1000}
            track = self._tracks[lane].number
            name = "gil.hold, first turn" if turn.first else "gil.hold"
            yield self._slice(name, track, turn.start, turn.end, args)

    def starts(self, starts: Starts) -> Iterator[Event]:
        """While calls waited for a loop's thread that had not begun."""
        for lane, since in starts.since.items():
            track, begun = self._tracks[lane].number, starts.turns[lane].start
            yield self._slice("loop thread starts", track, since, begun, {})

    def waits(self, waits: dict[Lane, list[tuple[int, int]]], most: int) -> Iterator[Event]:
        """The latest `most` waits of each loop thread for the GIL."""
        for lane, own in waits.items():
            track = self._tracks.get(lane)
            if track is not None:
                for start, end in own[-most:]:
                    yield self._slice("gil.wait", track.number, start, end, {})

    def works(self, works: Iterable[Work]) -> Iterator[Event]:
        for work in works:
            track = self._tracks.get(work.lane)
            yield from self._work(work, track.number if track else _FIRST_TRACK)
            if track is None:
                continue
            before: Piece | None = None
            for piece in work.pieces:
                if piece.kind == "poll":
                    args = {"function": work.name, "call": work.call or work.id, **_cpu(piece)}
                    yield self._slice("poll", track.number, piece.start, piece.end, args)
                    self._wake(track, before, piece, work.name)
                before = piece

    def _wake(self, track: _Track, before: Piece | None, poll: Piece, name: str) -> None:
        if before is not None and before.wake is not None and before.wake <= poll.start:
            track.wakes.append((before.wake, poll.start, name))

    def _work(self, work: Work, track: int) -> Iterator[Event]:
        args: dict[str, Any] = {"status": work.status, "polls": work.polls, "id": work.id}
        more = {"trace": work.trace, "parent": work.parent, "error": work.error}
        args.update({key: value for key, value in more.items() if value})
        args.update({f"{part}_us": took / 1000 for part, took in work.totals.items()})
        if work.flags:
            args["flags"] = ", ".join(work.flags)
        local, name = f"0x{work.id}", work.name if work.ended else f"{work.name} ({NOT_ENDED})"
        yield self._nested("b", work.kind, name, local, track, work.start, args)
        for piece in work.pieces:
            if piece.end == piece.start and piece.kind != "poll":
                continue
            said: Event = {"at": piece.at, "poll": piece.number}
            args = {key: value for key, value in said.items() if value} | _cpu(piece)
            yield self._nested("b", work.kind, piece.kind, local, track, piece.start, args)
            yield self._nested("e", work.kind, piece.kind, local, track, piece.end, {})
        yield self._nested("e", work.kind, name, local, track, work.end, {})

    def arrows(self) -> Iterator[Event]:
        for track in self._tracks.values():
            track.wakes.sort()
            times = sorted({wake for wake, _, _ in track.wakes})
            after = dict(pairwise(times))
            for wake, poll, name in track.wakes:
                end = wake + min(_WAKE_NS, after.get(wake, wake + _WAKE_NS) - wake)
                yield self._slice("wake", track.of_wakes, wake, end, {"function": name})
                yield from self._arrow("wake", track.of_wakes, wake, track.number, poll)

    def woken(self, works: Sequence[Work], rust: Sequence[RustPoll]) -> Iterator[Event]:
        """From each poll in which a call or task was woken to its own poll that followed."""
        for wake in wakes(works, rust):
            waker, woken = self._track(wake.waker.lane), self._track(wake.woken.lane)
            if waker and woken:
                yield from self._arrow("woken by", waker, wake.at, woken, wake.poll.start)

    def _arrow(self, name: str, track: int, start: int, to: int, end: int) -> Iterator[Event]:
        self._arrows += 1
        arrow = {"cat": "wake", "name": name, "id": self._arrows, "pid": _PROCESS}
        yield {"ph": "s", **arrow, "tid": track, "ts": self._us(start)}
        yield {"ph": "f", **arrow, "tid": to, "ts": self._us(end), "bp": "e"}

    def findings(self, findings: Iterable[Finding]) -> Iterator[Event]:
        for number, found in enumerate(findings):
            if found.start is None:
                continue
            args = {"sentence": found.sentence, "hint": found.hint, "call": found.call}
            args["stack"] = "\n".join(found.stack) or None
            known = {key: value for key, value in args.items() if value}
            name, local = f"{found.id} {found.name}", f"finding {number}"
            end = found.start + found.duration
            yield self._nested("b", "finding", name, local, _FIRST_TRACK, found.start, known)
            yield self._nested("e", "finding", name, local, _FIRST_TRACK, end, {})

    def counter(self, name: str, steps: Iterable[tuple[int, int]]) -> Iterator[Event]:
        for at, value in steps:
            counted = {"ph": "C", "name": name, "pid": _PROCESS, "ts": self._us(at)}
            yield {**counted, "args": {"calls": value}}

    def _slice(self, name: str, track: int, start: int, end: int, args: Event) -> Event:
        where = {"ph": "X", "cat": "loop", "name": name, "pid": _PROCESS, "tid": track}
        return {**where, "ts": self._us(start), "dur": (end - start) / 1000, "args": args}

    def _nested(
        self, phase: str, kind: str, name: str, local: str, track: int, at: int, args: Event
    ) -> Event:
        where = {"ph": phase, "cat": kind, "name": name, "id2": {"local": local}}
        return {**where, "pid": _PROCESS, "tid": track, "ts": self._us(at), "args": args}


def _cpu(piece: Piece) -> Event:
    return {"cpu_us": piece.cpu / 1000} if piece.cpu else {}


def _named(what: str, track: int | None, **args: object) -> Event:
    tid = _PROCESS if track is None else track
    return {"ph": "M", "name": what, "pid": _PROCESS, "tid": tid, "args": args}
