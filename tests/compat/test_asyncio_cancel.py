"""Timeouts, groups and cancels inside a call end what they should and leave nothing behind."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

import gilscope

from .conftest import this_task

if TYPE_CHECKING:
    from .conftest import Bounded


def test_a_timeout_ends_its_body_and_leaves_no_cancel_behind(call: Bounded) -> None:
    async def body(_: int) -> tuple[bool, int]:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.005) as timeout:
                await asyncio.Event().wait()
        await asyncio.sleep(0)
        return timeout.expired(), this_task().cancelling()

    assert call.each(body, 50) == [(True, 0)] * 50


def test_a_timeout_is_moved_and_taken_back(call: Bounded) -> None:
    async def body() -> bool:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(0.001) as timeout:
            timeout.reschedule(loop.time() + 30)
            await asyncio.sleep(0.01)
            timeout.reschedule(None)
        return timeout.expired()

    assert call(body) is False


def test_wait_for_gives_the_result_or_times_out(call: Bounded) -> None:
    async def body(n: int) -> object:
        try:
            return await asyncio.wait_for(asyncio.sleep(0 if n % 2 else 600, n), 0.02)
        except TimeoutError:
            return "late"

    assert call.each(body, 40) == [n if n % 2 else "late" for n in range(40)]


def test_a_task_group_gathers_errors_and_cancels_the_rest(call: Bounded) -> None:
    ended: list[int] = []

    async def waits(n: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(n)

    async def fails(n: int) -> None:
        raise ValueError(n)

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            for n in range(3):
                group.create_task(waits(n))
            group.create_task(fails(1))
            group.create_task(fails(2))

    with pytest.raises(ExceptionGroup) as caught:
        call(body)
    assert sorted(error.args[0] for error in caught.value.exceptions) == [1, 2]
    assert sorted(ended) == [0, 1, 2]


def test_cancelling_a_call_cancels_its_task_group(call: Bounded) -> None:
    started, ended = threading.Event(), threading.Semaphore(0)

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.release()

    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            for _ in range(3):
                group.create_task(waits())
            await asyncio.sleep(0)
            started.set()

    future = call.runtime.submit(body)
    assert started.wait(30)
    future.cancel()
    with pytest.raises(gilscope.CallCancelled):
        future.result(timeout=30)
    for _ in range(3):
        assert ended.acquire(timeout=30)


def test_a_child_cancels_its_parent(call: Bounded) -> None:
    async def body() -> tuple[int, int, int]:
        task = this_task()
        asyncio.get_running_loop().call_soon(task.cancel, "by a callback")
        with pytest.raises(asyncio.CancelledError, match="by a callback"):
            await asyncio.sleep(600)
        asked = task.cancelling()
        return asked, task.uncancel(), task.cancelling()

    assert call(body) == (1, 0, 0)


def test_cancelling_oneself_takes_effect_at_the_next_await(call: Bounded) -> None:
    steps: list[str] = []

    async def body() -> None:
        assert this_task().cancel() is True
        steps.append("still here")
        await asyncio.sleep(0)
        steps.append("never")

    with pytest.raises(gilscope.CallCancelled) as caught:
        call(body)
    assert caught.value.by == "callee"
    assert steps == ["still here"]


def test_a_shielded_child_survives(call: Bounded) -> None:
    inner_ended = threading.Event()
    started = threading.Event()
    kept: list[asyncio.Task[None]] = []

    async def inner() -> None:
        started.set()
        await asyncio.sleep(0.02)
        inner_ended.set()

    async def body() -> None:
        kept.append(asyncio.create_task(inner()))
        await asyncio.shield(kept[0])

    future = call.runtime.submit(body)
    assert started.wait(30)
    assert future.cancel() is True
    with pytest.raises(gilscope.CallCancelled):
        future.result(timeout=30)
    assert inner_ended.wait(30)
    call(asyncio.sleep, 0)
