"""What a trace says: calls with the pieces of their life, tasks, turns of loops, findings.

Times are integers, nanoseconds of whatever clock the file counts in.
"""

from __future__ import annotations

import os
from bisect import bisect_left
from dataclasses import dataclass, field
from itertools import pairwise

# In the order of a call's life; docs/spans.md says what each is.
PARTS = ("enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback")

Lane = tuple[int, str]
"""A thread: a number (the runtime whose loop it has, or its tid) and its name."""


@dataclass(slots=True)
class Piece:
    """A part of a call or task, at its place in time."""

    kind: str
    start: int
    end: int
    at: str | None = None
    """Where it awaits, for a `suspended`."""
    wake: int | None = None
    """When what it awaits was done, for a `suspended`."""
    number: int = 0
    """Which poll it is or precedes."""
    id: str | None = None
    """Of a `poll`, so that another one can say that it was woken by it."""
    woken_by: str | None = None
    """The id of the poll in which it was woken, for a `poll`: one of another call or task, or of
    the Rust future that it awaits."""
    cpu: int = 0
    """CPU time of its thread in it, for a `poll` of a millisecond or more; else 0."""
    awaits: str | None = None
    """The Rust future it awaits, for a `suspended`; None if it awaits something else."""


@dataclass(slots=True)
class Work:
    """A call, or a task made inside one."""

    kind: str
    id: str
    name: str
    start: int
    end: int
    status: str
    lane: Lane
    trace: str | None = None
    parent: str | None = None
    call: str | None = None
    polls: int = 0
    flags: list[str] = field(default_factory=list)
    error: str | None = None
    pieces: list[Piece] = field(default_factory=list)
    totals: dict[str, int] = field(default_factory=dict)
    """Time of each part, where the pieces were not recorded (detail `call`)."""
    children: list[Work] = field(default_factory=list)
    """Tasks made inside it, and calls made from it, in the order in which they began."""
    begun: bool = True
    """Whether the file has its begin; else it is only known that it was there from `start` on."""
    ended: bool = True
    """Whether the file has its end; else it is only known that it was there until `end`."""

    @property
    def duration(self) -> int:
        """Nanoseconds from its begin to its end."""
        return self.end - self.start

    def parts(self) -> dict[str, int]:
        """How long each part took in all."""
        if self.totals:
            return self.totals
        sums: dict[str, int] = {}
        for piece in self.pieces:
            sums[piece.kind] = sums.get(piece.kind, 0) + piece.end - piece.start
        return sums


@dataclass(slots=True)
class RustPoll:
    """A poll of a Rust future that a call or task awaits."""

    name: str
    start: int
    end: int
    number: int
    """Which poll of its future it is."""
    owner: str
    """The id of the call or task."""
    call: str | None
    lane: Lane
    id: str | None = None
    """So that a `poll` can say that it was woken by it."""


@dataclass(slots=True)
class Turn:
    """The time for which a loop thread held the GIL in one go."""

    start: int
    end: int
    calls: int
    cpu: int
    gil_wait: int | None = None
    """How long the thread waited for the GIL right before it; None if the file does not say."""
    first: bool = False
    """Whether the loop's thread began with it; False also if the file does not say."""


@dataclass(slots=True)
class Finding:
    """Something that is wrong, as the run itself found it."""

    id: str
    name: str
    sentence: str
    hint: str | None = None
    call: str | None = None
    thread: str | None = None
    start: int | None = None
    duration: int = 0
    stack: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Trace:
    """All that a file holds."""

    path: str
    calls: list[Work] = field(default_factory=list)
    tasks: list[Work] = field(default_factory=list)
    open: list[Work] = field(default_factory=list)
    """Calls and tasks of which the file has parts, and not themselves."""
    unseen: int = 0
    """At least so many more were polled of which the file has nothing."""
    threads: dict[int, str] = field(default_factory=dict)
    """Names of threads by the system's numbers, where the file has both."""
    turns: dict[Lane, list[Turn]] = field(default_factory=dict)
    rust: list[RustPoll] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    spans: int = 0
    notes: list[str] = field(default_factory=list)
    """What is missing in it or was left out; each is one line for the reader."""
    cut: str | None = None
    """Where its end is missing, in one line."""

    def cut_off(self, size: int, line: int, read: str) -> None:
        """Say that the file ends too early, after `size` bytes and in that line."""
        was = "was" if read.startswith("1 ") else "were"
        where = f"it ends at byte {size:,}, in line {line:,}"
        self.cut = f"{self.path} is cut off: {where}; {read} before that {was} read"

    def bounds(self) -> tuple[int, int]:
        """The first and the last moment of it, equal if there is nothing."""
        works = [*self.calls, *self.tasks, *self.open]
        turns = [turn for lane in self.turns.values() for turn in lane]
        found = [finding.start for finding in self.findings if finding.start is not None]
        if not works and not turns and not found:
            return 0, 0
        start = min([*(w.start for w in works), *(t.start for t in turns), *found])
        end = max([*(w.end for w in works), *(t.end for t in turns), *found])
        return start, end

    def lanes(self) -> list[Lane]:
        """Every loop thread in it, in order."""
        return sorted({*self.turns, *(call.lane for call in self.calls)})

    def rust_lanes(self) -> list[Lane]:
        """Every thread that polled Rust futures and has no loop, in order."""
        return sorted({poll.lane for poll in self.rust}.difference(self.lanes()))


def near(place: str) -> str:
    """`place` without what says little: the current folder, or where packages are installed."""
    return place.rpartition("/site-packages/")[2].removeprefix(os.getcwd() + os.sep)


def put_together(trace: Trace) -> Trace:
    """Give every task and every inner call to what it was made in; sort by time."""
    works = {work.id: work for work in (*trace.open, *trace.calls, *trace.tasks)}
    for work in works.values():
        work.pieces.sort(key=_order)
        owner = works.get(work.parent or "") or works.get(work.call or "")
        if owner is not None and owner is not work and not _is_inside(owner, work, works):
            owner.children.append(work)
    for work in works.values():
        work.children.sort(key=lambda child: child.start)
    trace.calls.sort(key=lambda call: (call.start, call.id))
    trace.tasks.sort(key=lambda task: (task.start, task.id))
    trace.open.sort(key=lambda work: (work.start, work.id))
    _put_rust_on_threads(trace)
    _name_awaited(trace, works)
    for turns in trace.turns.values():
        turns.sort(key=lambda turn: turn.start)
    return trace


def _put_rust_on_threads(trace: Trace) -> None:
    """A thread without a loop polls for all runtimes, of whose numbers none is its own."""
    trace.rust.sort(key=lambda poll: (poll.start, poll.end))
    loops = set(trace.lanes())
    for poll in trace.rust:
        if poll.lane not in loops:
            poll.lane = (0, poll.lane[1])


def _name_awaited(trace: Trace, works: dict[str, Work]) -> None:
    """A Rust future is polled first in the `poll` that awaits it, then in the `suspended`.

    One that is ready in its first poll suspends nobody, and has no `rust.poll`.
    """
    polls: dict[str, list[RustPoll]] = {}
    for poll in trace.rust:
        polls.setdefault(poll.owner, []).append(poll)
    for owner, own in polls.items():
        work = works.get(owner)
        for before, piece in pairwise(work.pieces if work else ()):
            if (before.kind, piece.kind) == ("poll", "suspended"):
                end = bisect_left(own, piece.end, key=lambda poll: poll.start)
                if end and own[end - 1].start >= before.start:
                    piece.awaits = own[end - 1].name


def _order(piece: Piece) -> tuple[int, int, int]:
    return piece.start, piece.end, PARTS.index(piece.kind)


def _is_inside(owner: Work, work: Work, works: dict[str, Work]) -> bool:
    """Whether `owner` is itself below `work`: a file may say so, a tree cannot."""
    seen: set[str] = set()
    above: Work | None = owner
    while above is not None and above.id not in seen:
        if above is work:
            return True
        seen.add(above.id)
        above = works.get(above.parent or "") or (
            works.get(above.call or "") if above.call != above.id else None
        )
    return False
