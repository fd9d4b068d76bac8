"""Each call runs in a Context of its own: its caller's, copied, or the one it was given."""

from __future__ import annotations

import asyncio
import contextvars
import queue
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from .conftest import Way

LIMIT = 30
VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="default")


async def read() -> str:
    before = VAR.get()
    await asyncio.sleep(0.001)
    assert VAR.get() == before
    return before


async def write(value: str) -> str:
    before = VAR.get()
    VAR.set(value)
    await asyncio.sleep(0.001)
    assert VAR.get() == value
    return before


def fresh(fun: Any, *args: Any) -> Any:
    return contextvars.Context().run(fun, *args)


def test_v1_a_call_sees_its_callers_context_and_leaves_it_alone(way: Way) -> None:
    def caller() -> None:
        VAR.set("caller's")
        assert way.value(read) == "caller's"
        assert way.value(VAR.get) == "caller's"
        assert way.value(write, "callee's") == "caller's"
        assert VAR.get() == "caller's"

    fresh(caller)


def test_v1_nothing_leaks_from_call_to_call_or_to_the_loop_thread(way: Way) -> None:
    def from_the_loop() -> str:
        loop, seen = asyncio.get_running_loop(), queue.Queue[str]()
        contextvars.Context().run(loop.call_soon, lambda: seen.put(VAR.get()))
        return VAR.get()

    assert fresh(way.value, write, "leak") == "default"
    assert fresh(way.value, VAR.set, "leak").var is VAR
    assert fresh(way.value, read) == "default"
    assert fresh(way.value, from_the_loop) == "default"


def test_v1_calls_in_flight_are_isolated(rt: gilscope.PyRuntime) -> None:
    async def own(value: str) -> list[str]:
        seen = [VAR.get()]
        VAR.set(value)
        for _ in range(3):
            await asyncio.sleep(0.001)
            seen.append(VAR.get())
        return seen

    futures = []
    for number in range(20):
        context = contextvars.Context()
        context.run(VAR.set, f"caller {number}")
        futures.append(context.run(rt.submit, own, f"call {number}"))
    for number, future in enumerate(futures):
        assert future.result(LIMIT) == [f"caller {number}"] + [f"call {number}"] * 3


def test_v1_the_context_is_taken_when_the_call_is_made(rt: gilscope.PyRuntime) -> None:
    def caller() -> None:
        VAR.set("then")
        future = rt.submit(read)
        VAR.set("later")
        assert future.result(LIMIT) == "then"

    fresh(caller)


def test_v1_a_given_context_is_used_as_it_is(rt: gilscope.PyRuntime) -> None:
    context = contextvars.Context()
    context.run(VAR.set, "given")
    calls = rt.options(context=context)
    assert calls.call(write, "by the first") == "given"
    assert context[VAR] == "by the first"
    assert calls.submit(VAR.set, "by the second").result(LIMIT)
    assert context[VAR] == "by the second"
    assert asyncio.run(calls.call_async(read)) == "by the second"
    assert VAR.get() == "default"


def test_v1_calls_in_flight_may_share_a_given_context(rt: gilscope.PyRuntime) -> None:
    context = contextvars.Context()
    calls = rt.options(context=context)

    async def add() -> None:
        for _ in range(5):
            VAR.set(VAR.get() + "+")
            await asyncio.sleep(0)

    for future in [calls.submit(add) for _ in range(4)]:
        future.result(LIMIT)
    assert context[VAR] == "default" + "+" * 20


@pytest.mark.parametrize("ends", ["result", "cancel"])
def test_v1_a_given_context_that_another_thread_is_in_is_waited_for(
    rt: gilscope.PyRuntime, ends: str
) -> None:
    context = contextvars.Context()
    suspended: queue.Queue[asyncio.Future[None]] = queue.Queue()

    async def write_later() -> str:
        waiter = asyncio.get_running_loop().create_future()
        suspended.put(waiter)
        await waiter
        VAR.set("written")
        return "done"

    def while_inside() -> None:
        rt.call(waiter.set_result, None)
        rt.call(asyncio.sleep, 0)  # its step was due by now, and could not run
        assert not future.done()
        if ends == "cancel":
            assert future.cancel()

    future = rt.options(context=context).submit(write_later)
    waiter = suspended.get(timeout=LIMIT)
    context.run(while_inside)
    if ends == "cancel":
        with pytest.raises(gilscope.CallCancelled):
            future.result(LIMIT)
    else:
        assert future.result(LIMIT) == "done"
        assert context[VAR] == "written"


def test_v1_a_child_task_and_a_thread_inherit_it(rt: gilscope.PyRuntime) -> None:
    async def parent() -> tuple[str, str]:
        return await asyncio.create_task(read()), await asyncio.to_thread(VAR.get)

    context = contextvars.Context()
    context.run(VAR.set, "inherited")
    assert context.run(rt.call, parent) == ("inherited", "inherited")
    pooled = context.run(lambda: rt.options(thread=True).call(VAR.get))
    assert pooled == "inherited"
