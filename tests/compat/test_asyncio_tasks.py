"""asyncio as seen from within a call: the call is a task in every way that user code can see."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import threading
import weakref
from typing import TYPE_CHECKING, Any

from .conftest import this_task

if TYPE_CHECKING:
    from .conftest import Bounded


def test_a_call_is_a_task(call: Bounded) -> None:
    async def body() -> None:
        task = this_task()
        assert isinstance(task, asyncio.Task)
        assert isinstance(task, asyncio.Future)
        assert asyncio.isfuture(task)
        assert asyncio.current_task() is task
        assert asyncio.ensure_future(task) is task
        assert task.get_loop() is asyncio.get_running_loop()
        assert not task.done()
        assert not task.cancelled()
        await asyncio.sleep(0)
        assert asyncio.current_task() is task

    call(body)


def test_each_call_is_a_task_of_its_own(call: Bounded) -> None:
    async def body(_: int) -> asyncio.Task[Any]:
        await asyncio.sleep(0.001)
        return this_task()

    assert len({id(task) for task in call.each(body, 100)}) == 100


def test_a_task_can_be_named_and_described(call: Bounded) -> None:
    async def body() -> tuple[str, str, str]:
        task = this_task()
        task.set_name("mine")
        return task.get_name(), repr(task), task.get_coro().__qualname__  # type: ignore[union-attr]

    name, text, coroutine = call(body)
    assert name == "mine"
    assert "mine" in text
    assert "body" in text
    assert coroutine.endswith("body")


def test_a_task_shows_its_stack(call: Bounded) -> None:
    async def inner() -> list[str]:
        await asyncio.sleep(0)
        return [frame.f_code.co_name for frame in this_task().get_stack()]

    async def body() -> list[str]:
        return await inner()

    assert "body" in call(body)


def test_all_tasks_are_the_calls_and_their_children(call: Bounded) -> None:
    seen: set[asyncio.Task[Any]] = set()
    all_wait = threading.Semaphore(0)
    release = call(asyncio.Event)

    async def waits(_: int) -> None:
        seen.add(this_task())
        all_wait.release()
        await release.wait()

    async def look() -> bool:
        tasks = asyncio.all_tasks()
        child = asyncio.create_task(asyncio.sleep(0))
        assert child in asyncio.all_tasks()
        await child
        assert child not in asyncio.all_tasks()
        return seen | {this_task()} <= tasks

    futures = [call.runtime.submit(waits, n) for n in range(10)]
    for _ in futures:
        assert all_wait.acquire(timeout=30)
    assert call(look) is True
    call(release.set)
    for future in futures:
        future.result(timeout=30)
    assert call(asyncio.all_tasks).isdisjoint(seen)


def test_no_task_is_left_after_calls(call: Bounded) -> None:
    async def body(n: int) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001 * (n % 3)):
                await asyncio.gather(*[asyncio.sleep(0.001) for _ in range(3)])
        if n % 5 == 0:
            raise ValueError

    futures = [call.runtime.submit(body, n) for n in range(50)]
    futures += [call.runtime.options(deadline=0.001).submit(body, n) for n in range(50)]
    for future in futures:
        future.exception(timeout=30)
    call(asyncio.sleep, 0.01)
    assert call.left() == set()


def test_tasks_and_coroutines_are_freed_after_calls(call: Bounded) -> None:
    tasks: list[weakref.ref[Any]] = []

    async def body(_: int) -> None:
        tasks.append(weakref.ref(this_task()))
        await asyncio.sleep(0)

    call.each(body, 50)
    call(asyncio.sleep, 0)
    gc.collect()
    assert [ref() for ref in tasks if ref() is not None] == []


def test_a_call_outlived_by_its_child(call: Bounded) -> None:
    ended = threading.Event()
    kept: set[asyncio.Task[None]] = set()

    async def child() -> None:
        await asyncio.sleep(0.01)
        ended.set()

    async def body() -> None:
        task = asyncio.create_task(child())
        kept.add(task)
        task.add_done_callback(kept.discard)

    call(body)
    assert ended.wait(30)
    call(asyncio.sleep, 0)


def test_a_call_awaits_another_calls_task(call: Bounded) -> None:
    tasks: list[asyncio.Task[str]] = []
    go = threading.Event()

    async def first() -> str:
        tasks.append(this_task())
        go.set()
        await asyncio.sleep(0.01)
        return "the first's result"

    async def second() -> str:
        return await tasks[0]

    future = call.runtime.submit(first)
    assert go.wait(30)
    assert call(second) == "the first's result"
    assert future.result(timeout=30) == "the first's result"


def test_a_done_callback_of_a_call_sees_its_result(call: Bounded) -> None:
    results: list[object] = []
    done = threading.Event()

    def note(task: asyncio.Task[Any]) -> None:
        results.append(task.result())
        done.set()

    async def body() -> str:
        this_task().add_done_callback(note)
        await asyncio.sleep(0)
        return "value"

    assert call(body) == "value"
    assert done.wait(30)
    assert results == ["value"]


def test_a_coroutine_is_seen_by_inspect_while_it_waits(call: Bounded) -> None:
    started = threading.Event()
    go: list[asyncio.Event] = []
    coroutines: list[Any] = []

    async def waits() -> None:
        go.append(asyncio.Event())
        started.set()
        await go[0].wait()

    def make_it() -> Any:
        coroutines.append(waits())
        return coroutines[0]

    future = call.runtime.submit(make_it)
    assert started.wait(30)
    assert call(inspect.getcoroutinestate, coroutines[0]) == inspect.CORO_SUSPENDED
    call(lambda: go[0].set())
    future.result(timeout=30)
    assert inspect.getcoroutinestate(coroutines[0]) == inspect.CORO_CLOSED
