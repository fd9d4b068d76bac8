"""L12: whatever the loop, calls return, fail, are cancelled and keep their context as always."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from .conftest import Bounded, Kind


def test_l12_the_loop_is_the_one_asked_for(on: Bounded, kind: Kind) -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert kind.is_in_use(on(loop))


def test_l12_many_calls_return_their_own_results(on: Bounded) -> None:
    async def double(n: int) -> int:
        if n % 3:
            await asyncio.sleep(0 if n % 2 else 0.001)
        return 2 * n

    assert on.each(double, 300) == [2 * n for n in range(300)]


def test_l12_an_immediate_function_returns(on: Bounded) -> None:
    assert on(pow, 2, 10) == 1024


@pytest.mark.parametrize(
    "kind_of_error", [ValueError, KeyboardInterrupt, SystemExit, StopAsyncIteration]
)
def test_l12_errors_are_delivered_as_themselves(
    on: Bounded, kind_of_error: type[BaseException]
) -> None:
    error = kind_of_error("mine")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(kind_of_error) as caught:
        on(fails)
    assert caught.value is error
    assert on(asyncio.sleep, 0, "alive") == "alive"


def test_l12_a_child_task_that_interrupts_leaves_the_loop_running(on: Bounded) -> None:
    async def interrupts() -> None:
        raise KeyboardInterrupt

    async def parent() -> str:
        await asyncio.sleep(0)
        try:
            await asyncio.create_task(interrupts())
        except KeyboardInterrupt:
            return "caught"
        raise AssertionError("it was not raised")

    try:
        assert on(parent) == "caught"
    except KeyboardInterrupt:  # an eager factory runs the child inside `create_task`
        raise AssertionError("it went past the parent") from None
    assert on(asyncio.sleep, 0, "alive") == "alive"


def test_l12_a_cancel_reaches_the_coroutine(on: Bounded) -> None:
    started, ended = threading.Event(), threading.Event()

    async def waits() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    future = on.runtime.submit(waits)
    assert started.wait(30)
    assert future.cancel() is True
    with pytest.raises(gilscope.CallCancelled) as caught:
        future.result(timeout=30)
    assert caught.value.by == "caller"
    assert ended.wait(30)


def test_l12_a_swallowed_cancel_gives_the_result(on: Bounded) -> None:
    started = threading.Event()

    async def stubborn() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "stayed"

    future = on.runtime.submit(stubborn)
    assert started.wait(30)
    future.cancel()
    assert future.result(timeout=30) == "stayed"


def test_l12_a_deadline_frees_the_caller_and_cancels(on: Bounded) -> None:
    ended = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(gilscope.DeadlineExceeded):
        on.runtime.options(deadline=0.05).call(waits)
    assert ended.wait(30)


def test_l12_timeouts_and_task_groups(on: Bounded) -> None:
    async def body(n: int) -> tuple[str, int]:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            timed_out = "timed out"
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, i)) for i in range(n)]
        return timed_out, sum(task.result() for task in tasks)

    assert on.each(body, 20) == [("timed out", sum(range(n))) for n in range(20)]


def test_l12_a_child_sees_itself_and_a_call_sees_itself_again(on: Bounded) -> None:
    async def child() -> asyncio.Task[Any] | None:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        assert asyncio.current_task() is before
        return before

    async def parent(_: int) -> bool:
        me = asyncio.current_task()
        task = asyncio.create_task(child())
        assert asyncio.current_task() is me
        seen = await task
        assert asyncio.current_task() is me
        return seen is not me and seen is not None

    assert all(on.each(parent, 50))


def test_l12_context_variables_are_the_callers_and_stay_apart(on: Bounded) -> None:
    name: contextvars.ContextVar[object] = contextvars.ContextVar("name", default="none")

    async def mark(n: int) -> tuple[object, object]:
        before = name.get()
        name.set(n)
        await asyncio.sleep(0)
        return before, name.get()

    token = name.set("caller")
    try:
        assert on.each(mark, 50) == [("caller", n) for n in range(50)]
        assert name.get() == "caller"
    finally:
        name.reset(token)
    assert on(mark, 1) == ("none", 1)
