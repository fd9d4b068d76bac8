"""The task of a call is collected, reported and forgotten as an `asyncio.Task` is.

The `roots` fixture runs coroutine functions as roots on a loop thread: `roots.run(fun, *args)`
returns the outcome, `roots.submit` a `concurrent.futures.Future`; `roots.reported` collects what
the loop's exception handler was given.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import weakref
from typing import Any

import pytest


def me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def test_weakref_dict_and_collection(roots: Any) -> None:
    class Mark:
        pass

    async def body() -> Any:
        task = me()
        mark = Mark()
        task.note = mark
        assert task.__dict__ == {"note": mark}
        task.cycle = task
        task.add_done_callback(lambda _: mark)
        await asyncio.sleep(0)
        return weakref.ref(task), weakref.ref(mark)

    async def turn() -> None:
        await asyncio.sleep(0)

    references = roots.run(body)
    roots.run(turn)
    gc.collect()
    assert [reference() for reference in references] == [None, None]


def test_l8_cycle_through_an_exception_is_collected(roots: Any) -> None:
    async def body(kept: list[Any]) -> None:
        task = me()
        kept.append(weakref.ref(task))
        await asyncio.sleep(0)
        raise ValueError("holds its frame, which holds the task")

    kept: list[Any] = []
    error = roots.submit(body, kept).exception(10)
    assert kept[0]() is not None
    del error
    gc.collect()
    assert kept[0]() is None


def test_l8_collector_runs_during_steps(roots: Any) -> None:
    async def body() -> int:
        for _ in range(5):
            gc.collect()
            await asyncio.sleep(0)
        return 1

    assert [roots.submit(body).result(10) for _ in range(5)] == [1] * 5


def test_a_pending_call_is_held_by_its_runtime(roots: Any) -> None:
    async def body() -> None:
        # Nobody but the task itself holds this future, and the callback holds the task.
        me().add_done_callback(functools.partial(lambda *_: None, me()))
        await asyncio.get_running_loop().create_future()

    future = roots.submit(body)

    async def collect() -> None:
        await asyncio.sleep(0)
        gc.collect()

    for _ in range(3):
        roots.run(collect)
    assert not future.done()
    assert future.cancel()
    assert isinstance(future.exception(10), asyncio.CancelledError)
    assert roots.reported == []


def test_error_taken_by_the_owner_counts_as_retrieved(roots: Any) -> None:
    async def body() -> None:
        await asyncio.sleep(0)
        raise ValueError

    roots.submit(body).exception(10)
    gc.collect()

    async def turn() -> None:
        await asyncio.sleep(0)

    roots.run(turn)
    assert roots.reported == []


def test_l20_nothing_grows(roots: Any) -> None:
    async def body() -> None:
        await asyncio.sleep(0)

    async def counted() -> tuple[int, int]:
        gc.collect()
        return len(gc.get_objects()), len(asyncio.all_tasks())  # this one and the loop's root

    def many() -> tuple[int, int]:
        futures = [roots.submit(body) for _ in range(500)]
        for future in futures:
            future.result(10)
        del futures, future
        for _ in range(3):  # what a call leaves behind is let go of in the turns after it
            roots.run(asyncio.sleep, 0)
        return roots.run(counted)

    many()
    objects, _ = many()
    later, tasks = many()
    assert tasks == 2
    assert later - objects < 100


def test_a7_coroutine_awaited_before(roots: Any) -> None:
    async def body() -> int:
        return 1

    coroutine = body()
    assert roots.run(lambda: coroutine) == 1
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        roots.run(lambda: coroutine)
