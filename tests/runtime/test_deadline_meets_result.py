"""A deadline and the result of the same call: who comes first is told, and nobody else."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"
LIMIT = 10
KINDS = ["future", "oneshot", "channel", "closure", "python", "submit", "submit_callback"]


class Thing:
    """A result to watch."""


def sender(
    kind: str, ext: ModuleType, rt: gilscope.PyRuntime, deadline: float
) -> Callable[..., Callable[[], list[tuple[str, Any]]]]:
    """Make a function that calls for a receiver of this kind; it returns what says what came."""
    calls = rt.options(deadline=deadline)

    def shown(outcome: Any) -> tuple[str, Any]:
        error = outcome.exception(0) if kind == "submit" else outcome.exception()
        return ("ok", outcome.result()) if error is None else ("err", error)

    def make(fun: Callable[..., Any], *args: object) -> Callable[[], list[tuple[str, Any]]]:
        if kind not in ("submit", "submit_callback"):
            sent = ext.send(kind, fun, *args, deadline=deadline)
            return lambda: list(sent.arrived)
        came: list[tuple[str, Any]] = []
        if kind == "submit":
            future = calls.submit(fun, *args)
            future.add_done_callback(lambda done: came.append(shown(done)))
        else:
            calls.submit_callback(lambda outcome: came.append(shown(outcome)), fun, *args)
        return lambda: list(came)

    return make


@pytest.mark.parametrize("kind", KINDS)
def test_x4_a_deadline_and_a_result_at_the_same_instant(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually, kind: str
) -> None:
    returned: set[int] = set()

    async def body(number: int) -> int:
        await asyncio.sleep(0.005)
        returned.add(number)
        return number

    make = sender(kind, ext, default_rt, 0.005)
    with gilscope.trace() as trace:
        calls = [make(body, number) for number in range(150)]
        eventually(lambda: all(came() for came in calls))
        eventually(lambda: not default_rt.in_flight())
        default_rt.call(int)  # what was handed to the loop thread before has been handed over
        spans = [s for s in trace.spans if s["span"] == "call" and s["name"].endswith("body")]
    told: Counter[str] = Counter()
    for number, came in enumerate(calls):
        ((word, value),) = came()  # one outcome, neither lost nor doubled
        if word == "ok":
            assert value == number
            assert number in returned
            told["ok"] += 1
        else:
            assert type(value) is gilscope.DeadlineExceeded
            told["deadline"] += 1
    assert Counter(span["status"] for span in spans) == told


def test_x4_a_result_that_was_there_first_is_delivered_though_its_deadline_passes(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    def held_back() -> tuple[set[str], dict[str, Any]]:
        """Who had a result, and who was told what while the loop could not hand it over."""
        started, release, ran = threading.Event(), threading.Event(), set[str]()

        def holds() -> None:
            started.set()
            assert release.wait(60)

        def answer(kind: str) -> str:
            ran.add(kind)
            return kind

        default_rt.submit(holds)
        assert started.wait(LIMIT)
        first, _ = ext.watched("closure", int, then="hold")
        # All end in the batch of `first`, whose closure keeps the loop from handing them over.
        calls = {kind: sender(kind, ext, default_rt, 1)(answer, kind) for kind in KINDS}
        release.set()
        first.wait()
        eventually(lambda: all(came() for came in calls.values()))
        told = {kind: came() for kind, came in calls.items()}
        first.release()
        return set(ran), told

    # A batch that takes long hands over before its end, and what it had not started is late.
    for _ in range(20):
        with gilscope.trace() as trace:
            had, told = held_back()
            default_rt.call(int)
            spans = [s for s in trace.spans if s["span"] == "call"]
        if had == set(KINDS):
            break
    assert had == set(KINDS), "no batch in 20 held all of the calls"
    assert told == {kind: [("ok", kind)] for kind in KINDS}
    ends = Counter(s["status"] for s in spans if s["name"].endswith("answer"))
    assert ends == {"ok": len(KINDS)}


@pytest.mark.parametrize("kind", KINDS)
def test_x4_a_result_that_comes_after_its_deadline_is_let_go_of(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually, kind: str
) -> None:
    started, release, things = threading.Event(), threading.Event(), list[Any]()

    async def late() -> Thing:
        await asyncio.sleep(0)
        started.set()
        assert release.wait(60)  # in its last poll
        thing = Thing()
        things.append(weakref.ref(thing))
        return thing

    with gilscope.trace() as trace:
        came = sender(kind, ext, default_rt, 0.3)(late)
        assert started.wait(LIMIT)
        if kind not in ("python", "submit_callback"):  # those need the loop thread
            eventually(came)
        else:
            # One that is longer, of the same library's clock, has passed.
            make = sender("closure" if kind == "python" else "submit", ext, default_rt, 0.6)
            eventually(make(int))
        release.set()
        eventually(lambda: came() and not default_rt.in_flight())
        default_rt.call(int)
        (span,) = [s for s in trace.spans if s["span"] == "call" and s["name"].endswith("late")]
    ((word, error),) = came()
    assert word == "err"
    assert type(error) is gilscope.DeadlineExceeded
    assert error.where == "poll"
    assert span["status"] == "deadline"
    gc.collect()
    assert [thing() for thing in things] == [None]
