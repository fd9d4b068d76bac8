"""One slow call beside many fast ones: they do not wait for it.

Unless it holds the loop, and then the spans say so. How fast they are is measured by `make bench`.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

FAST = 10_000
LIMIT = 20


async def fast(number: int) -> int:
    return number


def spans_named(trace: gilscope.trace, name: str, kind: str = "call") -> list[dict[str, Any]]:
    """The spans of a kind of the calls of a function."""
    calls = [s for s in trace.spans if s["span"] == "call" and s["name"].endswith(name)]
    if kind == "call":
        return calls
    ids = {span["id"] for span in calls}
    return [s for s in trace.spans if s["span"] == kind and s["call"] in ids]


def test_o5_no_fast_call_waits_for_a_slow_one(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any
) -> None:
    slow = default_rt.submit(gate)
    assert gate.started.wait(LIMIT)
    # All of them, in whatever way, before the slow one can end: it waits for this thread.
    assert ext.flood(fast, FAST, 64) == list(range(FAST))
    assert list(default_rt.map(fast, range(1000))) == list(range(1000))
    futures = [default_rt.submit(fast, i) for i in range(1000)]
    assert [future.result(LIMIT) for future in futures] == list(range(1000))
    assert not slow.done()
    assert not gate.returned.is_set()
    gate.open()
    assert slow.result(LIMIT) == ()


def test_o5_the_spans_show_who_held_the_loop(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    started, release = threading.Event(), threading.Event()

    async def slow() -> None:
        await asyncio.sleep(0)
        started.set()
        assert release.wait(60)  # holds the loop in its second poll

    with gilscope.trace() as trace:
        held = default_rt.submit(slow)
        assert started.wait(LIMIT)
        futures = [default_rt.submit(fast, i) for i in range(100)]
        release.set()
        assert [future.result(LIMIT) for future in futures] == list(range(100))
        held.result(LIMIT)
    first, second = sorted(spans_named(trace, "slow", "poll"), key=lambda span: span["poll"])
    held_from, held_to = second["start_ns"], second["start_ns"] + second["dur_ns"]
    assert first["start_ns"] + first["dur_ns"] <= held_from
    queued, ready = (spans_named(trace, "fast", part) for part in ("queued", "ready"))
    polls = spans_named(trace, "fast", "poll")
    assert len(queued) == len(ready) == len(polls) == 100
    # Each waited from within that poll until after it: as queued or, if the same turn took it, as
    # ready, since then the loop had returned from its wait before.
    taken = {span["call"]: span for span in ready}
    for span in queued:
        assert held_from <= span["start_ns"] <= held_to
        waits = (span, taken[span["call"]])
        assert any(w["start_ns"] <= held_to <= w["start_ns"] + w["dur_ns"] for w in waits)
    assert all(held_to <= span["start_ns"] for span in polls)
    # A turn that held the loop is one span of the loop's, too.
    turns = [s for s in trace.spans if s["span"] == "loop.turn"]
    covers = [
        turn
        for turn in turns
        if turn["start_ns"] <= held_from and held_to <= turn["start_ns"] + turn["dur_ns"]
    ]
    assert len(covers) == 1
