"""A coroutine may answer a cancel with a result or an exception of its own."""

from __future__ import annotations

import asyncio
import threading

import gilscope

LIMIT = 30


def test_x2_a_swallowed_cancel_gives_the_real_result(rt: gilscope.PyRuntime) -> None:
    started = threading.Event()

    async def stubborn() -> str:
        started.set()
        try:
            await asyncio.sleep(LIMIT)
        except asyncio.CancelledError:
            await asyncio.sleep(0.001)
        return "real"

    with gilscope.trace() as trace:
        future = rt.submit(stubborn)
        assert started.wait(LIMIT)
        assert future.cancel()
        assert future.result(LIMIT) == "real"
        rt.call(int)
    span = next(span for span in trace.spans if span["span"] == "call")
    assert span["flags"] == ["cancel_swallowed"]
    assert span["status"] == "ok"


def test_x2_an_exception_instead_of_the_cancel_is_delivered(rt: gilscope.PyRuntime) -> None:
    started, instead = threading.Event(), ValueError("instead")

    async def stubborn() -> None:
        started.set()
        try:
            await asyncio.sleep(LIMIT)
        finally:
            raise instead

    future = rt.submit(stubborn)
    assert started.wait(LIMIT)
    assert future.cancel()
    assert future.exception(LIMIT) is instead
    assert isinstance(instead.__context__, asyncio.CancelledError)
