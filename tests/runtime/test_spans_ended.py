"""Spans of calls that a shutdown ends."""

from __future__ import annotations

import asyncio
import threading

import pytest

import gilscope


def test_o6_an_abort_closes_running_and_queued_calls() -> None:
    started, release = threading.Event(), threading.Event()

    async def stubborn() -> None:
        started.set()
        while not release.is_set():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                await asyncio.sleep(0)

    runtime = gilscope.PyRuntime("aborted", max_in_flight=1)
    with gilscope.trace() as trace:
        futures = [runtime.submit(stubborn) for _ in range(6)]
        assert started.wait(10)
        assert runtime.shutdown("abort", deadline=10)["joined"]
        for future in futures:
            with pytest.raises(gilscope.RuntimeStopped):
                future.result(10)
    ended = [span["status"] for span in trace.spans if span["span"] == "call"]
    assert ended == ["stopped"] * 6
    release.set()


def test_o6_a_call_on_a_loop_that_is_given_up_ends_as_its_caller_was_told() -> None:
    freed = threading.Event()

    async def hold() -> None:
        freed.wait(60)

    with gilscope.trace() as trace:
        runtime = gilscope.PyRuntime("held")
        late = runtime.options(deadline=0.1).submit(hold)
        with pytest.raises(gilscope.DeadlineExceeded) as told:
            late.result(30)
        runtime.shutdown("abort", deadline=0.1)
        given_up = [span for span in trace.spans if span["span"] == "call"]
        freed.set()
        assert runtime.shutdown("abort", deadline=30)["joined"]
    (span,) = given_up
    assert (span["status"], span["flags"]) == ("deadline", ["unfinished"])
    assert span["error"] == {"type": "DeadlineExceeded", "message": str(told.value)}
    assert [span for span in trace.spans if span["span"] == "call"] == given_up
