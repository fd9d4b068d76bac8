"""anyio inside calls: task groups, cancel scopes, worker threads, and the way back from them."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Bounded


def test_a_task_group_runs_its_children(call: Bounded) -> None:
    async def squares(n: int) -> list[int]:
        found: list[int] = []

        async def add(i: int) -> None:
            await anyio.lowlevel.checkpoint()
            found.append(i * i)

        async with anyio.create_task_group() as group:
            for i in range(n):
                group.start_soon(add, i)
        return sorted(found)

    assert call.each(squares, 50) == [[i * i for i in range(n)] for n in range(50)]


def test_a_child_that_fails_cancels_its_siblings(call: Bounded) -> None:
    ended: list[str] = []

    async def sibling() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("sibling")

    async def fails() -> None:
        await anyio.lowlevel.checkpoint()
        raise ValueError("child")

    async def parent() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(sibling)
            group.start_soon(fails)

    with pytest.raises(ExceptionGroup) as caught:
        call(parent)
    assert [repr(error) for error in caught.value.exceptions] == ["ValueError('child')"]
    assert ended == ["sibling"]


def test_start_hands_over_a_value(call: Bounded) -> None:
    async def server(*, task_status: anyio.abc.TaskStatus[int]) -> None:
        task_status.started(42)
        await anyio.sleep_forever()

    async def parent() -> int:
        async with anyio.create_task_group() as group:
            value: int = await group.start(server)
            group.cancel_scope.cancel()
        return value

    assert call(parent) == 42


def test_cancelling_a_scope_ends_only_its_body(call: Bounded) -> None:
    async def body() -> tuple[bool, str, int]:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        task = asyncio.current_task()
        assert task is not None
        return scope.cancelled_caught, "went on", task.cancelling()

    assert call(body) == (True, "went on", 0)


def test_a_scope_is_cancelled_from_another_call(call: Bounded) -> None:
    scopes: list[anyio.CancelScope] = []
    entered = threading.Event()

    async def waits() -> bool:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            entered.set()
            await anyio.sleep_forever()
        return scope.cancelled_caught

    future = call.runtime.submit(waits)
    assert entered.wait(30)
    call(lambda: scopes[0].cancel())
    assert future.result(timeout=30) is True


def test_move_on_after_goes_on(call: Bounded) -> None:
    async def body(_: int) -> bool:
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        await anyio.lowlevel.checkpoint()
        return scope.cancelled_caught

    assert call.each(body, 50) == [True] * 50


def test_fail_after_is_a_timeout_error_of_its_own(call: Bounded) -> None:
    async def body() -> None:
        with anyio.fail_after(0.01):
            await anyio.sleep_forever()

    with pytest.raises(TimeoutError) as caught:
        call(body)
    assert not isinstance(caught.value, gilscope.DeadlineExceeded)


def test_nested_scopes_end_in_the_right_one(call: Bounded) -> None:
    async def body() -> tuple[bool, bool]:
        with anyio.move_on_after(0.01) as outer:
            with anyio.move_on_after(20) as inner:
                await anyio.sleep_forever()
            raise AssertionError("the outer scope was left")
        return outer.cancelled_caught, inner.cancelled_caught

    assert call(body) == (True, False)


def test_a_shield_lets_its_body_end(call: Bounded) -> None:
    steps: list[str] = []

    async def body() -> None:
        with anyio.move_on_after(0.01):
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.05)
                steps.append("shielded")
            await anyio.sleep_forever()
        steps.append("after")

    call(body)
    assert steps == ["shielded", "after"]


def test_cancelling_the_call_runs_its_shielded_clean_up(call: Bounded) -> None:
    started, cleaned = threading.Event(), threading.Event()

    async def body() -> None:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.sleep_forever)
                started.set()
                await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(0.01)
                cleaned.set()

    future = call.runtime.submit(body)
    assert started.wait(30)
    assert future.cancel() is True
    with pytest.raises(gilscope.CallCancelled):
        future.result(timeout=30)
    assert cleaned.wait(30)


def test_200_calls_share_the_limiters_threads(call: Bounded, threads: Callable[..., int]) -> None:
    limit = 5
    seen: set[threading.Thread] = set()
    running: list[int] = []

    def work(n: int) -> int:
        seen.add(threading.current_thread())
        running.append(len(threads("AnyIO worker thread")))
        return n + 1

    async def body(n: int) -> int:
        anyio.to_thread.current_default_thread_limiter().total_tokens = limit
        return await anyio.to_thread.run_sync(work, n)

    assert call.each(body, 200) == [n + 1 for n in range(200)]
    assert max(running) <= limit
    assert len(seen) <= limit


def test_one_call_after_the_other_uses_one_thread(call: Bounded) -> None:
    async def body() -> threading.Thread:
        return await anyio.to_thread.run_sync(threading.current_thread)

    assert len({call(body) for _ in range(20)}) == 1


def test_worker_threads_end_with_the_runtime(threads: Callable[[str], list[str]]) -> None:
    with gilscope.PyRuntime() as runtime:
        list(runtime.map(anyio.to_thread.run_sync, [threading.get_ident] * 10))
        workers = [t for t in threading.enumerate() if "AnyIO worker thread" in t.name]
        assert workers
    for worker in workers:
        worker.join(timeout=30)
        assert not worker.is_alive()


def test_a_worker_thread_calls_back(call: Bounded) -> None:
    async def on_loop(n: int) -> tuple[int, int]:
        await anyio.lowlevel.checkpoint()
        return n, threading.get_ident()

    def work(n: int) -> tuple[int, int, int]:
        value, loop_thread = anyio.from_thread.run(on_loop, n)
        assert anyio.from_thread.run_sync(threading.get_ident) == loop_thread
        return value, loop_thread, threading.get_ident()

    async def body(n: int) -> int:
        value, loop_thread, worker = await anyio.to_thread.run_sync(work, n)
        assert loop_thread == threading.get_ident() != worker
        return value

    assert call.each(body, 50) == list(range(50))


def test_a_memory_stream_joins_two_calls(call: Bounded) -> None:
    async def open_stream() -> tuple[anyio.abc.ObjectSendStream, anyio.abc.ObjectReceiveStream]:
        return anyio.create_memory_object_stream[int](0)

    send, receive = call(open_stream)

    async def produce() -> None:
        async with send:
            for number in range(100):
                await send.send(number)

    async def consume() -> list[int]:
        async with receive:
            return [number async for number in receive]

    calls = call.runtime.options(deadline=30)
    consumed, produced = calls.submit(consume), calls.submit(produce)
    assert consumed.result(timeout=30) == list(range(100))
    produced.result(timeout=30)


def test_rust_is_awaited_in_a_scope(call: Bounded) -> None:
    async def body(_: int) -> tuple[bool, bool]:
        with anyio.move_on_after(0.01) as short:
            await gilscope.rust.sleep(20)
        with anyio.move_on_after(20) as long:
            await gilscope.rust.sleep(0.001)
        return short.cancelled_caught, long.cancelled_caught

    assert call.each(body, 20) == [(True, False)] * 20


def test_anyio_runs_beside_a_runtime(call: Bounded) -> None:
    async def double(n: int) -> int:
        await anyio.lowlevel.checkpoint()
        return 2 * n

    async def main() -> list[int]:
        found: list[int] = []

        async def one(n: int) -> None:
            found.append(await call.runtime.call_async(double, n))

        with anyio.fail_after(30):
            async with anyio.create_task_group() as group:
                for n in range(20):
                    group.start_soon(one, n)
        return sorted(found)

    assert anyio.run(main) == [2 * n for n in range(20)]


def test_an_anyio_scope_cancels_a_call_on_a_runtime(call: Bounded) -> None:
    ended = threading.Event()

    async def waits() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.set()

    async def main() -> bool:
        with anyio.move_on_after(0.05) as scope:
            await call.runtime.call_async(waits)
        return scope.cancelled_caught

    assert anyio.run(main) is True
    assert ended.wait(30)
