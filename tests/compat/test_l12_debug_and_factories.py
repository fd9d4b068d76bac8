"""L12: debug mode and task factories work as on any loop."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from .conftest import this_task

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Bounded


def test_l12_debug_mode_names_a_call_that_holds_the_loop(
    make: Callable[..., Bounded], caplog: pytest.LogCaptureFixture
) -> None:
    on = make(debug=True)

    async def body() -> str:
        asyncio.get_running_loop().slow_callback_duration = 0.001
        await asyncio.sleep(0)
        child = asyncio.create_task(holds())
        await child
        return "done"

    async def holds() -> None:
        threading.Event().wait(0.05)

    with caplog.at_level(logging.WARNING, "asyncio"):
        assert on(body) == "done"
        on(asyncio.sleep, 0)
    assert any("holds" in message and "took" in message for message in caplog.messages)


def test_l12_debug_mode_refuses_the_wrong_thread(make: Callable[..., Bounded]) -> None:
    on = make(debug=True)
    loop = on(asyncio.get_running_loop)
    with pytest.raises(RuntimeError, match="Non-thread-safe"):
        loop.call_soon(print)
    assert on(asyncio.sleep, 0, "alive") == "alive"


def test_l12_debug_mode_says_where_a_coroutine_was_made(make: Callable[..., Bounded]) -> None:
    async def never() -> None:
        raise AssertionError("it never runs")

    async def body() -> bool:
        coroutine = never()
        try:
            return coroutine.cr_origin is not None
        finally:
            coroutine.close()

    assert make(debug=True)(body) is True
    assert make()(body) is False


def test_l12_an_eager_factory_set_by_user_code_makes_eager_children(
    make: Callable[..., Bounded],
) -> None:
    factory = getattr(asyncio, "eager_task_factory", None)
    on = make()

    async def child(steps: list[str]) -> None:
        steps.append("child")

    async def body(_: int) -> list[str]:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(factory)
        steps: list[str] = []
        me = this_task()
        task = loop.create_task(child(steps))
        steps.append("parent")
        assert asyncio.current_task() is me
        await task
        return steps

    expected = ["child", "parent"] if sys.version_info >= (3, 12) else ["parent", "child"]
    assert on.each(body, 20) == [expected] * 20
    assert on.left() == set()


def test_l12_a_task_factory_of_ones_own_makes_the_children(make: Callable[..., Bounded]) -> None:
    class Mine(asyncio.Task[Any]):
        pass

    on = make()

    async def body() -> type:
        loop = asyncio.get_running_loop()
        loop.set_task_factory(lambda loop, coro, **options: Mine(coro, loop=loop, **options))
        task = asyncio.create_task(asyncio.sleep(0))
        async with asyncio.TaskGroup() as group:
            grouped = group.create_task(asyncio.sleep(0))
        await task
        assert type(grouped) is Mine
        return type(task)

    assert on(body) is Mine
