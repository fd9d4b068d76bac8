"""What a loop gives its tasks, calls have too: locks, generators, processes, sockets, signals."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Bounded


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
