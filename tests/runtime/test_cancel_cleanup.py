"""Cleanup after a cancel runs once, whatever comes meanwhile; asyncio's counts stay right."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT = 30


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def test_x3_a_second_cancel_during_cleanup(rt: gilscope.PyRuntime) -> None:
    started, cleaning = threading.Event(), threading.Event()
    log: list[Any] = []

    async def body() -> None:
        started.set()
        try:
            await asyncio.sleep(LIMIT)
        finally:
            log.append(("cleanup", this_task().cancelling()))
            cleaning.set()
            try:
                await asyncio.sleep(LIMIT)
            except asyncio.CancelledError:
                log.append(("second", this_task().cancelling()))
            log.append("cleaned")

    future = rt.submit(body)
    assert started.wait(LIMIT)
    assert future.cancel()
    assert cleaning.wait(LIMIT)
    assert future.cancel()
    error = future.exception(LIMIT)
    assert isinstance(error, gilscope.CallCancelled)
    assert error.by == "caller"
    assert log == [("cleanup", 1), ("second", 2), "cleaned"]


def test_x3_a_shielded_inner_task_goes_on(rt: gilscope.PyRuntime) -> None:
    started, release, inner_ended = threading.Event(), threading.Event(), threading.Event()

    async def inner() -> None:
        started.set()
        await asyncio.to_thread(release.wait, LIMIT)
        inner_ended.set()

    async def outer() -> None:
        await asyncio.shield(inner())

    future = rt.submit(outer)
    assert started.wait(LIMIT)
    assert future.cancel()
    assert isinstance(future.exception(LIMIT), gilscope.CallCancelled)
    assert not inner_ended.is_set()
    release.set()
    assert inner_ended.wait(LIMIT)


def test_x3_uncancel_makes_the_call_go_on(rt: gilscope.PyRuntime) -> None:
    started = threading.Event()

    async def body() -> list[int]:
        counts = []
        started.set()
        try:
            await asyncio.sleep(LIMIT)
        except asyncio.CancelledError:
            counts.append(this_task().cancelling())
            counts.append(this_task().uncancel())
        with pytest.raises(TimeoutError):  # needs the count to be right
            async with asyncio.timeout(0.001):
                await asyncio.sleep(LIMIT)
        return [*counts, this_task().cancelling()]

    future = rt.submit(body)
    assert started.wait(LIMIT)
    assert future.cancel()
    assert future.result(LIMIT) == [1, 0, 0]


async def timeout(awaitable: Awaitable[Any], seconds: float) -> Any:
    async with asyncio.timeout(seconds):
        return await awaitable


WAITS: dict[str, Callable[..., Awaitable[Any]]] = {"timeout": timeout, "wait_for": asyncio.wait_for}


@pytest.mark.parametrize("wait", WAITS)
def test_x3_the_awaiting_side_keeps_its_counts(rt: gilscope.PyRuntime, wait: str) -> None:
    cleaned = threading.Event()

    async def body() -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            await asyncio.sleep(0.001)
            cleaned.set()

    async def main() -> tuple[int, bool]:
        with pytest.raises(TimeoutError):
            await WAITS[wait](rt.call_async(body), 0.02)
        return this_task().cancelling(), cleaned.is_set()

    assert asyncio.run(main()) == (0, True), "the await waits for the cleanup"


def test_x3_a_task_group_cancels_its_calls(rt: gilscope.PyRuntime) -> None:
    log: list[str] = []

    async def body() -> None:
        try:
            await asyncio.sleep(LIMIT)
        finally:
            log.append("cleaned")

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(rt.call_async(body))
            await asyncio.sleep(0.02)
            raise ValueError("the group's")

    with pytest.raises(ExceptionGroup) as caught:
        asyncio.run(main())
    assert [type(error) for error in caught.value.exceptions] == [ValueError]
    assert log == ["cleaned"] * 3
