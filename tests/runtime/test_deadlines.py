"""A deadline frees its caller on time, wherever the call is, and cancels the Python side."""

from __future__ import annotations

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 30
SOON = 0.3  # and yet a call that should be started by then has been, on a busy machine too


def by_call(rt: gilscope.PyRuntime, fun: Callable[[], Any]) -> Any:
    return rt.options(deadline=SOON).call(fun)


def by_await(rt: gilscope.PyRuntime, fun: Callable[[], Any]) -> Any:
    return asyncio.run(asyncio.wait_for(rt.options(deadline=SOON).call_async(fun), LIMIT))


def by_future(rt: gilscope.PyRuntime, fun: Callable[[], Any]) -> Any:
    return rt.options(deadline=SOON).submit(fun).result(LIMIT)


every_caller = pytest.mark.parametrize("caller", [by_call, by_await, by_future])


# How the text of the error says where the call was.
WHERE = {"queued": "queued", "poll": "in a poll", "suspended": "suspended"}


def expired(rt: gilscope.PyRuntime, caller: Any, fun: Callable[[], Any]) -> str:
    """Where the call was when its deadline passed, told both by the exception and its type."""
    with pytest.raises(gilscope.DeadlineExceeded) as caught:
        caller(rt, fun)
    error = caught.value
    assert isinstance(error, TimeoutError)
    name = f"{fun.__module__}.{fun.__qualname__}"
    assert str(error) == f"{name} did not end within {SOON} s (it was {WHERE[error.where]})"
    return error.where


class Holder:
    """Holds the loop inside a poll until the test, which runs meanwhile, lets go."""

    def __init__(self) -> None:
        self.entered, self.release = threading.Event(), threading.Event()

    def hold(self) -> None:
        self.entered.set()
        assert self.release.wait(LIMIT), "nobody let go: the caller was not freed"


@every_caller
def test_x6_while_queued(rt: gilscope.PyRuntime, caller: Any) -> None:
    holder, ran = Holder(), []
    busy = rt.submit(holder.hold)
    assert holder.entered.wait(LIMIT)
    with gilscope.trace() as trace:
        assert expired(rt, caller, lambda: ran.append(1)) == "queued"
        holder.release.set()
        busy.result(LIMIT)
        rt.call(int)
    assert ran == []
    spans = {span["span"]: span for span in trace.spans if span["status"] == "deadline"}
    assert "call" in spans


@every_caller
def test_x6_while_polling(rt: gilscope.PyRuntime, caller: Any) -> None:
    holder, ended = Holder(), threading.Event()

    async def body() -> None:
        try:
            holder.hold()
            await asyncio.sleep(LIMIT)
        finally:
            ended.set()

    assert expired(rt, caller, body) == "poll"
    assert not ended.is_set()
    holder.release.set()
    assert ended.wait(LIMIT), "the Python side is cancelled at its next await"


@every_caller
def test_x6_while_suspended(rt: gilscope.PyRuntime, caller: Any) -> None:
    seen: list[type] = []
    ended = threading.Event()

    async def body() -> None:
        try:
            await asyncio.sleep(LIMIT)
        except BaseException as error:
            seen.append(type(error))
            raise
        finally:
            ended.set()

    assert expired(rt, caller, body) == "suspended"
    assert ended.wait(LIMIT)
    assert seen == [asyncio.CancelledError]


def test_x6_while_in_cleanup(rt: gilscope.PyRuntime) -> None:
    started, cleaned = threading.Event(), threading.Event()

    async def body() -> None:
        try:
            started.set()
            await asyncio.sleep(LIMIT)
        finally:
            try:
                await asyncio.sleep(LIMIT)  # until the deadline cancels this too
            finally:
                cleaned.set()

    with gilscope.trace() as trace:
        future = rt.options(deadline=0.3).submit(body)
        assert started.wait(LIMIT)
        assert future.cancel()
        error = future.exception(LIMIT)
        assert isinstance(error, gilscope.DeadlineExceeded)
        assert error.where == "cleanup"
        assert str(error).endswith(".body did not end within 0.3 s (it was in its cleanup)")
        assert cleaned.wait(LIMIT)
        rt.call(asyncio.sleep, 0.001)
        rt.call(int)
        spans = trace.spans
    (call,) = (s for s in spans if s["span"] == "call" and s["name"].endswith(".body"))
    assert call["status"] == "deadline"
    assert "cleanup" in f"{call.get('where')} {call.get('error')}"


@pytest.mark.parametrize("where", ["queued", "poll", "suspended"])
def test_x6_the_span_says_where_it_was(rt: gilscope.PyRuntime, where: str) -> None:
    holder = Holder()

    async def body() -> None:
        if where == "poll":
            holder.hold()
        await asyncio.sleep(LIMIT)

    with gilscope.trace() as trace:
        if where == "queued":
            rt.submit(holder.hold)
            assert holder.entered.wait(LIMIT)
        assert expired(rt, by_call, body) == where
        holder.release.set()
        rt.call(asyncio.sleep, 0.001)
        rt.call(int)
    spans = [span for span in trace.spans if span["name"] and span["name"].endswith(".body")]
    (call,) = (span for span in spans if span["span"] == "call")
    assert call["status"] == "deadline"
    told = f"{call.get('where')} {call.get('error')}"
    assert where in told


@every_caller
@pytest.mark.parametrize("end", ["returns", "raises"])
def test_x6_a_plain_function_that_overran_is_recorded_as_its_caller_was_told(
    rt: gilscope.PyRuntime, caller: Any, end: str
) -> None:
    holder = Holder()

    def plain() -> None:
        holder.hold()
        if end == "raises":
            raise ValueError("too late")

    with gilscope.trace() as trace:
        assert expired(rt, caller, plain) == "poll"
        holder.release.set()
        rt.call(int)
    (call,) = (s for s in trace.spans if s["span"] == "call" and s["name"].endswith(".plain"))
    assert call["status"] == "deadline"
    assert "in a poll" in call["error"]["message"]
    assert call["flags"] == ["immediate"] if end == "returns" else "flags" not in call


@pytest.mark.parametrize("way", ["call", "await"])
@pytest.mark.parametrize("freed_by", ["deadline", "shutdown"])
def test_x6_l4_an_outcome_that_is_ready_waits_for_no_call_that_holds_the_loop(
    freed_by: str, way: str
) -> None:
    async def quick() -> str:
        return "quick"

    async def hold(begun: threading.Event, until: threading.Event) -> None:
        begun.set()
        assert until.wait(60)

    async def awaits(calls: gilscope.Calls) -> str:
        return await calls.call_async(quick)

    def ask() -> str:
        calls = rt.options(deadline=0.5 if freed_by == "deadline" else None)
        return calls.call(quick) if way == "call" else asyncio.run(awaits(calls))

    events = [threading.Event() for _ in range(4)]
    first, begin, second, free = events
    rt = gilscope.PyRuntime("held")
    rt.submit(hold, first, begin)
    assert first.wait(30)
    # What follows is taken in one turn, and the last of it holds the loop.
    with ThreadPoolExecutor() as pool:
        asked = pool.submit(ask)
        while rt.stats()["pending"] < 2:
            time.sleep(0.001)
        rt.submit(hold, second, free)
        begin.set()
        assert second.wait(30)
        if freed_by == "shutdown":
            assert not rt.shutdown("abort", deadline=0.1)["joined"]
        try:
            assert asked.result(20) == "quick"
        finally:
            free.set()
    assert rt.shutdown("cancel", deadline=30)["joined"]
