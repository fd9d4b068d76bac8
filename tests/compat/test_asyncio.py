"""asyncio as seen from within a call: the call is a task in every way that user code can see."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import inspect
import logging
import signal
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from .conftest import Bounded


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


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


def test_locks_events_and_queues_are_shared_by_calls(call: Bounded) -> None:
    async def make() -> tuple[asyncio.Lock, asyncio.Queue[int]]:
        return asyncio.Lock(), asyncio.Queue(2)

    lock, queue = call(make)
    inside: list[int] = []

    async def put(n: int) -> None:
        async with lock:
            inside.append(1)
            assert len(inside) == 1
            await asyncio.sleep(0)
            inside.pop()
        await queue.put(n)

    async def take(_: int) -> int:
        return await queue.get()

    producers = [call.runtime.submit(put, n) for n in range(50)]
    assert sorted(call.each(take, 50)) == list(range(50))
    for producer in producers:
        producer.result(timeout=30)


def test_context_variables_reach_children_and_callbacks_of_the_loop(call: Bounded) -> None:
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name", default="none")

    async def child() -> str:
        return name.get()

    async def body(n: int) -> list[str]:
        name.set(f"call {n}")
        seen: list[str] = []
        asyncio.get_running_loop().call_soon(lambda: seen.append(name.get()))
        seen.append(await asyncio.create_task(child()))
        seen.append(await asyncio.to_thread(name.get))
        return seen

    for n, seen in enumerate(call.each(body, 20)):
        assert seen == [f"call {n}"] * 3
    assert call(name.get) == "none"


def test_async_generators_are_closed(call: Bounded) -> None:
    closed: list[str] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            await asyncio.sleep(0)
            closed.append("closed")

    async def body() -> int:
        async with contextlib.aclosing(numbers()) as source:
            return await anext(source)

    assert call(body) == 1
    assert closed == ["closed"]


def test_a_forgotten_async_generator_is_closed_by_the_loop() -> None:
    closed = threading.Event()
    kept: list[AsyncIterator[int]] = []

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            closed.set()

    async def body() -> int:
        kept.append(numbers())
        return await anext(kept[0])

    with gilscope.PyRuntime() as runtime:
        assert runtime.call(body) == 1
        assert not closed.is_set()
    assert closed.is_set()


def test_a_subprocess_is_run_and_read(call: Bounded) -> None:
    async def body(n: int) -> tuple[int | None, bytes]:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            f"import sys; print(sys.stdin.read()[::-1]); sys.exit({n})",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(b"abc")
        return process.returncode, out

    assert call.each(body, 4) == [(n, b"cba\n") for n in range(4)]


def test_a_subprocess_is_killed_with_its_call(call: Bounded) -> None:
    started = threading.Event()
    codes: list[int] = []

    async def body() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "input()", stdin=-1)
        started.set()
        try:
            await process.wait()
        finally:
            process.kill()
            codes.append(await asyncio.shield(process.wait()))

    future = call.runtime.submit(body)
    assert started.wait(30)
    future.cancel()
    with pytest.raises(gilscope.CallCancelled):
        future.result(timeout=30)
    call(asyncio.sleep, 0)
    assert codes == [-signal.SIGKILL]


def test_signal_handlers_belong_to_the_main_thread(call: Bounded) -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD)

    async def body() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: None)

    with pytest.raises((ValueError, RuntimeError)):
        call(body)
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGCHLD)) == before
    assert call(asyncio.sleep, 0, "alive") == "alive"


def test_sockets_serve_on_loopback(call: Bounded) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line.upper())
            await writer.drain()
        writer.close()

    async def listen() -> asyncio.Server:
        return await asyncio.start_server(echo, "127.0.0.1", 0)

    server = call(listen)
    port = server.sockets[0].getsockname()[1]

    async def talk(n: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"call %d\n" % n)
        answer = await reader.readline()
        writer.close()
        await writer.wait_closed()
        return answer

    async def close() -> None:
        server.close()
        await server.wait_closed()

    assert call.each(talk, 50) == [b"CALL %d\n" % n for n in range(50)]
    call(close)
    call(asyncio.sleep, 0.01)


def test_run_coroutine_threadsafe_reaches_the_loop(call: Bounded) -> None:
    loop = call(asyncio.get_running_loop)
    future = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.001, "value"), loop)
    assert future.result(timeout=30) == "value"


def test_a_loop_cannot_be_run_inside_a_call(call: Bounded) -> None:
    async def body() -> None:
        inner = asyncio.sleep(0)
        try:
            asyncio.run(inner)
        finally:
            inner.close()

    with pytest.raises(RuntimeError, match="running event loop"):
        call(body)


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
