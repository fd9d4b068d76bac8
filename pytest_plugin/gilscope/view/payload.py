"""What the page gets: the model in few bytes, JSON of numbers and one table of texts.

page/data.js reads it. Times are nanoseconds since the first moment of the trace.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gilscope.view.around import Around
from gilscope.view.choice import (
    CALLS,
    MERGED,
    choose,
    evenly,
    fewer_pieces,
    fewer_steps,
    fewer_stretches,
    fewer_turns,
)
from gilscope.view.loops import Starts, gil_waits
from gilscope.view.model import PARTS, RustPoll
from gilscope.view.numbers import in_flight, not_ok, queue_depth, rows, wakes
from gilscope.view.unended import ended, unended

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gilscope.view.model import Lane, Piece, Trace, Work
    from gilscope.view.numbers import Wake

KINDS = (*PARTS, MERGED, "gap")
_SUSPENDED, _MERGED, _GAP = (KINDS.index(kind) for kind in ("suspended", MERGED, "gap"))

# Of a usual trace. Where they make too large a page, `share` takes less of each.
_PIECES = 24_000
_PIECES_OF_ONE = (12, 160)
_TASKS = 40
_TURNS = 2_000
_STEPS = 1_500
_FINDINGS = 200
_OPEN = 20
_RUST = 3_000
_WAKES = 2_000
_TEXT = 2_000
_STACK = 64
# Fewer calls are drawn down to this share of them, before there is less of everything.
_FEWEST = 0.2


class Payload:
    """Collects what goes into the page: of each only `share`, of 1, where it would be too much."""

    def __init__(self, trace: Trace, share: float = 1.0) -> None:
        self.trace = trace
        self._share = min(share / _FEWEST, 1.0)
        self._most = min(len(trace.calls), CALLS)
        chosen = choose(trace, max(int(self._most * share), 1))
        self._chosen = len(chosen)
        known = {call.id for call in chosen}
        self._unended = unended(trace)[: self._of(_OPEN)]
        open_calls = [call for call in self._unended if call.id not in known]
        self.shown = sorted([*chosen, *open_calls], key=lambda call: (call.start, call.id))
        self.zero, self.end = trace.bounds()
        self._texts: dict[str, int] = {"": 0}
        self._lanes: dict[Lane, int] = {lane: i for i, lane in enumerate(trace.lanes())}
        self._starts, self._waits = Starts(trace), gil_waits(trace)
        works = len(self.shown) + sum(len(call.children) for call in self.shown)
        least, most = (self._of(limit) for limit in _PIECES_OF_ONE)
        self._rust_drawn: list[RustPoll] = []
        self._pieces = min(max(self._of(_PIECES) // max(works, 1), least), most)

    def _of(self, limit: int) -> int:
        return max(int(limit * self._share), 4)

    def _cut(self, text: str) -> str:
        most = self._of(_TEXT)
        return text if len(text) <= most else text[: most - 1] + "…"

    def build(self) -> dict[str, Any]:
        """All of it, fit for `json.dumps`."""
        trace = self.trace
        around = Around(trace, self._cut, self._of(_STACK))
        calls = [self._work(call) for call in self.shown]
        rust = self._rust()
        wakes, rust_wakes = self._wakes()
        cut = [trace.cut] if trace.cut else []
        capped = [*self._capped(), *around.capped(self._of(_FINDINGS))]
        return {
            "path": trace.path,
            "span": self.end - self.zero,
            "count": len(trace.calls),
            "tasks": len(trace.tasks),
            "notOk": list(not_ok(trace.calls).items()),
            "longest": around.longest(),
            "unended": around.open_calls(self._unended),
            "notes": [*cut, *capped, *trace.notes],
            "kinds": KINDS,
            "lanes": [self._lane(lane) for lane in self._lanes],
            "calls": calls,
            "wakes": wakes,
            "rustWakes": rust_wakes,
            "rust": rust,
            "rustCount": len(trace.rust),
            "flight": _flat(fewer_steps(in_flight(trace), self._of(_STEPS)), self.zero),
            "queue": _flat(fewer_steps(queue_depth(trace), self._of(_STEPS)), self.zero),
            "rows": self._rows(),
            "found": len(trace.findings),
            "counting": around.counting(),
            "findings": around.findings(self._of(_FINDINGS)),
            "texts": list(self._texts),  # last: building the others fills it
        }

    def _capped(self) -> list[str]:
        """What is not in the picture, or not one by one."""
        trace = self.trace
        notes = []
        if self._chosen < len(trace.calls):
            notes.append(
                f"{self._chosen:,} of {len(trace.calls):,} calls are drawn: those of findings,"
                " some that failed, the slowest, and of the rest some at even distances."
                " Percentiles, counters and turns are of all calls, polls of those drawn."
            )
        if self._chosen < self._most or self._share < 1:
            notes.append("More would make the page too large.")
        if any(len(turns) > self._of(_TURNS) for turns in trace.turns.values()):
            notes.append("Turns of a loop that lie close together are drawn as one.")
        if any(len(work.pieces) > self._pieces for work in self._drawn()):
            notes.append("Polls and waits of a call that are too many are drawn as one, in grey.")
        if len(self._rust_polls()) > self._of(_RUST):
            notes.append(
                f"{self._of(_RUST):,} of {len(trace.rust):,} polls of Rust futures are drawn."
            )
        return notes

    def _drawn(self) -> list[Work]:
        return [*self.shown, *(child for call in self.shown for child in call.children)]

    def _wakes(self) -> tuple[list[int], list[int]]:
        """Who woke when, and who was polled when for it: works, and polls of Rust futures.

        Both are counted as page/data.js does.
        """
        works = [
            work
            for call in self.shown
            for work in (
                call,
                *[child for child in call.children if child.kind == "task"][: self._of(_TASKS)],
            )
        ]
        number = {work.id: i for i, work in enumerate(works)}
        rust = {poll.id: i for i, poll in enumerate(self._rust_drawn) if poll.id}
        found = wakes(works, self._rust_drawn)

        def flat(by: list[Wake], wakers: dict[str, int]) -> list[int]:
            packed: list[int] = []
            for wake in evenly(by, self._of(_WAKES)):
                packed += (wakers[wake.waker.id or ""], wake.at - wake.waker.start)
                packed += (number[wake.woken.id], wake.poll.start - wake.woken.start)
            return packed

        of_rust = [wake for wake in found if isinstance(wake.waker, RustPoll)]
        others = [wake for wake in found if not isinstance(wake.waker, RustPoll)]
        return flat(others, number), flat(of_rust, rust)

    def _rust_polls(self) -> list[RustPoll]:
        """Those of calls that are drawn."""
        shown = {call.id for call in self.shown}
        return [poll for poll in self.trace.rust if (poll.call or poll.owner) in shown]

    def _rust(self) -> list[dict[str, Any]]:
        """Of each thread its polls of Rust futures: for whom, what, which, since when, how long."""
        calls = {call.id: number for number, call in enumerate(self.shown)}
        lanes: dict[Lane, list[RustPoll]] = {lane: [] for lane in self.trace.rust_lanes()}
        for poll in evenly(self._rust_polls(), self._of(_RUST)):
            lanes.setdefault(poll.lane, []).append(poll)
        self._rust_drawn = [poll for polls in lanes.values() for poll in polls]
        packed = []
        for lane, polls in lanes.items():
            flat: list[int] = []
            for poll in polls:
                number = calls[poll.call or poll.owner]
                since = poll.start - self.shown[number].start
                flat += (number, self._text(poll.name), poll.number)
                flat += (since, poll.end - poll.start)
            loop = self._lanes.get(lane, -1)
            packed.append({"name": self._cut(lane[1]), "loop": loop, "polls": flat})
        return packed

    def _rows(self) -> list[list[Any]]:
        calls = ended(self.trace)
        return [
            [row.name, row.p50, row.p90, row.p99, row.max, round(row.share, 4)]
            for row in (rows(calls) if calls else ())
        ]

    def _text(self, text: str | None) -> int:
        return self._texts.setdefault(self._cut(text or ""), len(self._texts))

    def _work(self, work: Work) -> list[Any]:
        tasks = [child for child in work.children if child.kind == "task"]
        return [
            self._text(work.name),
            work.start - self.zero,
            work.duration,
            self._text(work.status),
            self._lanes.get(work.lane, 0),
            work.id,
            work.trace or "",
            work.polls,
            self._text(work.error),
            self._text(", ".join(work.flags)),
            work.parent or "",
            self._flat_pieces(work),
            [work.totals.get(part, 0) for part in PARTS] if work.totals else 0,
            len(tasks),
            [self._task(task, work) for task in tasks[: self._of(_TASKS)]],
        ]

    def _task(self, task: Work, call: Work) -> list[Any]:
        return [
            self._text(task.name),
            task.start - call.start,
            task.duration,
            self._text(task.status),
            task.polls,
            self._text(task.error),
            self._flat_pieces(task),
        ]

    def _flat_pieces(self, work: Work) -> list[int]:
        """Kind and duration of each, where one ends the next begins.

        After those of a `suspended` where it awaits, and how long before its end it was woken (-1:
        not known); after those of a merged piece how many it stands for. A poll whose CPU time is
        known has its kind negated, and that time after it.
        """
        flat: list[int] = []
        at = work.start
        for piece in fewer_pieces(work.pieces, self._pieces):
            if piece.start > at:
                flat += (_GAP, piece.start - at)
            flat += self._piece(piece)
            at = piece.end
        if not work.ended and work.end > at:
            flat += (_GAP, work.end - at)
        return flat

    def _piece(self, piece: Piece) -> Sequence[int]:
        kind, took = KINDS.index(piece.kind), piece.end - piece.start
        if kind == _MERGED:
            return (kind, took, piece.number)
        if kind == _SUSPENDED:
            known = piece.wake is not None and piece.start <= piece.wake <= piece.end
            wake = piece.end - (piece.wake or 0) if known else -1
            return (kind, took, self._text(piece.at), wake)
        if piece.cpu:
            return (-kind, took, piece.cpu)
        return (kind, took)

    def _lane(self, lane: Lane) -> dict[str, Any]:
        flat: list[int] = []
        at = self.zero
        for turn, count, held in fewer_turns(self.trace.turns.get(lane, []), self._of(_TURNS)):
            flat += (turn.start - at, turn.end - turn.start, turn.calls, turn.cpu, count, held)
            at = turn.end
        names = [name for _, name in self._lanes]
        label = f"{lane[1]} ({lane[0]})" if names.count(lane[1]) > 1 else lane[1]
        first, since = self._starts.turns.get(lane), self._starts.since.get(lane)
        start: list[int] = []
        if first is not None:
            begun = first.start - self.zero
            start = [begun if since is None else since - self.zero, begun, first.end - self.zero]
        waits = [(since, end - since) for since, end in self._waits.get(lane, [])]
        packed = _flat(fewer_stretches(waits, self._of(_TURNS)), self.zero)
        return {"name": self._cut(label), "turns": flat, "waits": packed, "start": start}


def _flat(steps: Sequence[tuple[int, int]], zero: int) -> list[int]:
    """Time since the one before, and value."""
    flat: list[int] = []
    for at, value in steps:
        flat += (at - zero, value)
        zero = at
    return flat
