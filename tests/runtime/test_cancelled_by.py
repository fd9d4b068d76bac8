"""A cancelled call says who cancelled it."""

from __future__ import annotations

import asyncio
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from .conftest import Way

LIMIT = 30


def statuses(trace: gilscope.trace) -> list[str]:
    return [span["status"] for span in trace.spans if span["span"] == "call"]


@pytest.mark.parametrize("after_await", [False, True])
def test_e6_a_cancelled_error_of_its_own_is_by_the_callee(way: Way, after_await: bool) -> None:
    async def own() -> None:
        if after_await:
            await asyncio.sleep(0)
        raise asyncio.CancelledError("own")

    with gilscope.trace() as trace:
        error = way.error(own)
        assert way.value(int) == 0
    assert type(error) is gilscope.CallCancelled
    assert isinstance(error, asyncio.CancelledError)
    assert error.by == "callee"
    assert statuses(trace)[0] == "cancelled_by_callee"


@pytest.mark.parametrize("after_await", [False, True])
def test_e6_the_callees_own_error_is_the_cause(way: Way, after_await: bool) -> None:
    mine = asyncio.CancelledError("own", 7)

    async def own() -> None:
        if after_await:
            await asyncio.sleep(0)
        raise mine

    error = way.error(own)
    assert type(error) is gilscope.CallCancelled
    assert error.__cause__ is mine
    assert mine.args == ("own", 7)
    assert str(error) == "the call was cancelled by the callee: ('own', 7)"
    assert [frame.name for frame in traceback.extract_tb(mine.__traceback__)] == ["own"]


def test_e6_the_cause_is_what_a_cancelled_child_was_told(way: Way) -> None:
    async def parent() -> None:
        child = asyncio.create_task(asyncio.sleep(LIMIT))
        asyncio.get_running_loop().call_soon(child.cancel, "why")
        await child

    cause = way.error(parent).__cause__
    assert type(cause) is asyncio.CancelledError
    assert cause.args == ("why",)
    assert traceback.extract_tb(cause.__traceback__)[0].name == "parent"


def test_e6_a_task_that_cancels_itself_is_by_the_callee(way: Way) -> None:
    async def own() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(LIMIT)

    error = way.error(own)
    assert type(error) is gilscope.CallCancelled
    assert error.by == "callee"


def test_e6_a_plain_function_that_raises_it_is_by_the_callee(way: Way) -> None:
    def own() -> None:
        raise asyncio.CancelledError

    error = way.error(own)
    assert error.by == "callee"
    assert type(error.__cause__) is asyncio.CancelledError
    assert str(error) == "the call was cancelled by the callee"


def test_e6_a_cancelled_child_is_by_the_callee(way: Way) -> None:
    async def parent() -> None:
        child = asyncio.create_task(asyncio.sleep(LIMIT))
        asyncio.get_running_loop().call_soon(child.cancel)
        await child

    assert way.error(parent).by == "callee"


def test_e6_the_caller_and_the_shutdown_are_told_apart(rt: gilscope.PyRuntime) -> None:
    started = threading.Semaphore(0)

    async def wait() -> None:
        started.release()
        await asyncio.sleep(LIMIT)

    async def own() -> Any:
        raise asyncio.CancelledError

    with gilscope.trace() as trace:
        by_callee, by_caller, by_shutdown = rt.submit(own), rt.submit(wait), rt.submit(wait)
        for _ in range(2):
            assert started.acquire(timeout=LIMIT)
        assert by_caller.cancel()
        errors = [by_callee.exception(LIMIT), by_caller.exception(LIMIT)]
        rt.shutdown("cancel", deadline=LIMIT)
        errors.append(by_shutdown.exception(LIMIT))
    assert all(isinstance(error, gilscope.CallCancelled) for error in errors)
    assert [error.by for error in errors] == [  # type: ignore[union-attr]
        "callee",
        "caller",
        "shutdown",
    ]
    assert [type(error.__cause__) for error in errors if error] == [
        asyncio.CancelledError,
        type(None),
        type(None),
    ]
    assert statuses(trace) == [
        "cancelled_by_callee",
        "cancelled_by_caller",
        "cancelled_by_shutdown",
    ]
