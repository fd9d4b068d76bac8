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
