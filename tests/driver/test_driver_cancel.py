"""Cancelling the task of a call means what it means for `asyncio.Task`.

The `roots` fixture runs coroutine functions as roots on a loop thread: `roots.run(fun, *args)`
returns the outcome, `roots.submit` a `concurrent.futures.Future`; `roots.reported` collects what
the loop's exception handler was given.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

import pytest

import gilscope


def me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def cancelled(roots: Any, fun: Any) -> tuple[Any, ...]:
    """Run a root that is cancelled; the arguments of its task's CancelledError."""
    kept: list[asyncio.Task[Any]] = []

    async def body() -> Any:
        kept.append(me())
        return await fun()

    error = roots.submit(body).exception(10)
    assert isinstance(error, gilscope.CallCancelled)
    assert error.by == "callee"
    with pytest.raises(asyncio.CancelledError) as caught:
        kept[0].result()
    return caught.value.args


def test_x1_cancel_while_suspended_carries_the_message(roots: Any) -> None:
    async def body() -> None:
        asyncio.get_running_loop().call_soon(me().cancel, "why")
        await asyncio.sleep(60)

    assert cancelled(roots, body) == ("why",)


def test_x1_cancel_itself_then_suspend(roots: Any) -> None:
    async def body() -> None:
        assert me().cancel("self") is True
        await asyncio.sleep(60)

    assert cancelled(roots, body) == ("self",)


def test_x1_cancel_itself_then_return(roots: Any) -> None:
    async def body() -> int:
        me().cancel("late")
        return 1

    assert cancelled(roots, body) == ("late",)


def test_x1_cancel_after_the_end_does_nothing(roots: Any) -> None:
    async def body() -> Any:
        return me()

    task = roots.run(body)
    assert task.cancel() is False
    assert task.result() is task


def test_x2_swallowed_cancellation(roots: Any) -> None:
    async def body() -> Any:
        task = me()
        task.cancel()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return task, task.cancelling()
        return None

    task, count = roots.run(body)
    assert count == 1
    assert task.cancelled() is False


def test_x3_uncancel_counts(roots: Any) -> None:
    async def body() -> list[int]:
        task = me()
        counts = [task.uncancel()]
        task.cancel()
        task.cancel()
        counts += [task.cancelling(), task.uncancel(), task.cancelling(), task.uncancel()]
        counts.append(task.uncancel())
        cancelled = False
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            cancelled = True
        # 3.13: taking all cancellations back also takes back the one not thrown yet.
        assert cancelled is (sys.version_info < (3, 13))
        return counts

    assert roots.run(body) == [0, 2, 1, 1, 0, 0]


def test_x3_shielded_inner_survives(roots: Any) -> None:
    async def inner() -> str:
        await asyncio.sleep(0.02)
        return "inner"

    async def body() -> str:
        child = asyncio.create_task(inner())
        asyncio.get_running_loop().call_soon(me().cancel)
        try:
            await asyncio.shield(child)
        except asyncio.CancelledError:
            me().uncancel()
            return await child
        return "not cancelled"

    assert roots.run(body) == "inner"


def test_x3_second_cancel_during_cleanup(roots: Any) -> None:
    runs = []

    async def body() -> None:
        loop, task = asyncio.get_running_loop(), me()
        loop.call_soon(task.cancel, "one")
        try:
            await asyncio.sleep(60)
        finally:
            runs.append(1)
            loop.call_soon(task.cancel, "two")
            await asyncio.sleep(60)

    assert cancelled(roots, body) == ("two",)
    assert runs == [1]


def test_timeout_and_task_group(roots: Any) -> None:
    async def child(n: int) -> int:
        await asyncio.sleep(0.001 * n)
        return n

    async def fails() -> None:
        await asyncio.sleep(0)
        raise ValueError("child")

    async def failing_group() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(fails())
            await asyncio.sleep(60)

    async def body() -> Any:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await asyncio.sleep(60)
        assert me().cancelling() == 0
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.sleep(60), 0.01)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(child(n)) for n in range(3)]
        assert me().cancelling() == 0
        with pytest.raises(ExceptionGroup) as caught:
            await failing_group()
        assert me().cancelling() == 0
        return [task.result() for task in tasks], caught.value.exceptions[0].args

    assert roots.run(body) == ([0, 1, 2], ("child",))
