"""L12: whatever the loop, calls await Rust, streams, threads, sockets, processes and anyio."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .conftest import Bounded, Kind


def test_l12_rust_is_awaited(on: Bounded) -> None:
    async def body(n: int) -> str:
        await gilscope.rust.sleep(0.001 * (n % 3))
        return await gilscope.rust.sha256(b"%d" % (n % 2))

    digests = on.each(body, 60)
    assert len(set(digests)) == 2


def test_l12_rust_is_cancelled(on: Bounded) -> None:
    async def body(_: int) -> str:
        try:
            async with asyncio.timeout(0.01):
                await gilscope.rust.sleep(600)
        except TimeoutError:
            return "timed out"
        return "woke up"

    assert on.each(body, 20) == ["timed out"] * 20


def test_l12_a_loop_awaits_calls_on_another(on: Bounded, kind: Kind) -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    async def elsewhere() -> list[int]:
        return await asyncio.gather(*[on.runtime.call_async(double, n) for n in range(50)])

    with gilscope.PyRuntime(**kind.options) as other:
        assert other.options(deadline=30).call(elsewhere) == [2 * n for n in range(50)]


def test_l12_streams(on: Bounded) -> None:
    closed = threading.Event()

    async def count() -> AsyncIterator[int]:
        try:
            for number in range(1000):
                yield number
                if number % 100 == 0:
                    await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            closed.set()

    async def read(limit: int) -> list[int]:
        stream = on.runtime.stream(count)
        found = []
        async for number in stream:
            found.append(number)
            if len(found) == limit:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        return found

    assert asyncio.run(asyncio.wait_for(read(2000), 30)) == list(range(1000))
    assert closed.wait(30)
    closed.clear()
    assert asyncio.run(asyncio.wait_for(read(5), 30)) == list(range(5))
    assert closed.wait(30)


def test_l12_blocking_functions_run_in_threads(on: Bounded) -> None:
    calls = on.runtime.options(thread=True, deadline=30)
    used = {calls.submit(threading.current_thread).result(timeout=30) for _ in range(5)}
    assert on(threading.current_thread) not in used
    assert threading.current_thread() not in used


def test_l12_sockets_and_subprocesses(on: Bounded) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def over_a_socket() -> bytes:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"abc\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        return answer

    async def from_a_process(n: int) -> tuple[bytes, int | None]:
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            f"cat; exit {n}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(b"abc")
        return out, process.returncode

    assert on(over_a_socket) == b"ABC\n"
    assert on.each(from_a_process, 3) == [(b"abc", n) for n in range(3)]
    on(asyncio.sleep, 0.01)


def test_l12_anyio_runs(on: Bounded) -> None:
    async def body(n: int) -> tuple[bool, int]:
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        found = []

        async def add(i: int) -> None:
            found.append(await anyio.to_thread.run_sync(abs, -i))

        async with anyio.create_task_group() as group:
            for i in range(n):
                group.start_soon(add, i)
        return scope.cancelled_caught, sum(found)

    assert on.each(body, 10) == [(True, sum(range(n))) for n in range(10)]
