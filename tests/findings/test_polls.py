"""Polls come back as long and as many as they were, and nothing is missing between them."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

from .conftest import LIMIT, Preempted, near

if TYPE_CHECKING:
    from collections.abc import Callable

INJECTED = 20_000_000
ATTEMPTS = 10
PARTS = {"enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback"}


def spin() -> None:
    end = time.monotonic_ns() + INJECTED
    while time.monotonic_ns() < end:
        pass


def sleep() -> None:
    end = time.monotonic_ns() + INJECTED
    while (left := end - time.monotonic_ns()) > 0:
        time.sleep(left / 1e9)


@pytest.mark.parametrize("inject", [spin, sleep])
def test_a_poll_of_20_ms_comes_back_within_5_percent(
    rt: gilscope.PyRuntime, inject: Callable[[], None]
) -> None:
    async def injected() -> int:
        await asyncio.sleep(0)
        before = time.monotonic_ns()
        inject()
        return time.monotonic_ns() - before

    loop, seen = rt.call(threading.get_native_id), []
    for _ in range(ATTEMPTS):
        preempted = Preempted(loop)
        with gilscope.trace() as trace:
            true = rt.call(injected)
        others = preempted.since()
        _, poll = sorted_polls(trace.spans)
        seen.append((poll["dur_ns"], true, others))
        # What lies inside cannot be longer; the two clocks differ by parts per million.
        assert poll["dur_ns"] >= true * 0.999, seen
        # Between the stamps of a poll and those of the code in it the machine may run somebody
        # else, which is then in the one and not in the other: no longer than it says that it did.
        assert poll["dur_ns"] <= true * 1.05 + others, seen
    assert any(near(measured, true) for measured, true, _ in seen), seen


def sorted_polls(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted((each for each in spans if each["span"] == "poll"), key=lambda it: it["poll"])


@pytest.mark.parametrize("yields", [0, 1, 2, 17, 300])
def test_polls_are_counted_one_by_one(rt: gilscope.PyRuntime, yields: int) -> None:
    async def steps() -> None:
        for _ in range(yields):
            await asyncio.sleep(0)

    with gilscope.trace() as trace:
        rt.call(steps)
    assert [poll["poll"] for poll in sorted_polls(trace.spans)] == list(range(1, yields + 2))
    kinds = Counter(span["span"] for span in trace.spans)
    assert kinds["suspended"] == yields
    (call,) = (span for span in trace.spans if span["span"] == "call")
    assert call["polls"] == yields + 1


async def suspends() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    await gilscope.rust.sleep(0.001)


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError


async def fails_at_once() -> None:
    raise ValueError


async def cancels_itself() -> None:
    await asyncio.sleep(0)
    raise asyncio.CancelledError


def plain() -> None:
    pass


@pytest.mark.parametrize(
    ("fun", "status"),
    [
        (suspends, "ok"),
        (plain, "ok"),
        (fails, "error"),
        (fails_at_once, "error"),
        (cancels_itself, "cancelled_by_callee"),
    ],
)
def test_the_parts_of_a_call_sum_to_it(
    rt: gilscope.PyRuntime, fun: Callable[[], Any], status: str
) -> None:
    with gilscope.trace() as trace:
        future = rt.submit(fun)
        future.exception(LIMIT) if status != "cancelled_by_callee" else ended(future)
        rt.shutdown("drain")
    sums_up(trace.spans, status)


@pytest.mark.parametrize(
    ("how", "status"), [("cancel", "cancelled_by_caller"), ("deadline", "deadline")]
)
@pytest.mark.parametrize("cleans", [False, True])
def test_the_parts_of_a_call_that_was_stopped_sum_to_it(
    rt: gilscope.PyRuntime, how: str, status: str, cleans: bool
) -> None:
    begun, stopped = threading.Event(), threading.Event()

    async def waits() -> None:
        await asyncio.sleep(0)
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            if cleans:
                await asyncio.sleep(0.001)
            stopped.set()

    with gilscope.trace() as trace:
        options = rt.options(deadline=0.2 if how == "deadline" else None)
        future = options.submit(waits)
        if how == "cancel":
            assert begun.wait(LIMIT)
            future.cancel()
        ended(future)
        rt.shutdown("drain")
    sums_up(trace.spans, status)
    assert stopped.is_set() or not begun.is_set()


def ended(future: Any) -> None:
    with pytest.raises(BaseException):  # noqa: B017, PT011
        future.result(LIMIT)


def sums_up(spans: list[dict[str, Any]], status: str) -> None:
    (call,) = (span for span in spans if span["span"] == "call")
    assert call["status"] == status
    parts = [span for span in spans if span["span"] in PARTS and span["call"] == call["call"]]
    assert {"enqueue", "queued", "gil.wait"} <= {part["span"] for part in parts}
    assert abs(sum(part["dur_ns"] for part in parts) - call["dur_ns"]) <= 1_000
    parts.sort(key=lambda part: (part["start_ns"], part["start_ns"] + part["dur_ns"]))
    for before, after in pairwise(parts):
        assert abs(before["start_ns"] + before["dur_ns"] - after["start_ns"]) <= 1_000
    assert parts[0]["start_ns"] == call["start_ns"]
