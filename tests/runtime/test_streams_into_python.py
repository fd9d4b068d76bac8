"""Streams that Python reads: of Rust, and of a generator on another loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"


@pytest.mark.parametrize("capacity", [1, 16])
def test_rust_stream_through_a_full_buffer_loses_nothing(
    ext: ModuleType, rt: gilscope.PyRuntime, capacity: int
) -> None:
    async def read() -> list[int]:
        items = []
        async for item in stream:
            items.append(item)
            if item % 100 == 0:
                await asyncio.sleep(0.005)  # the buffer fills up meanwhile
        return items

    stream, tracked = ext.stream(1000, capacity=capacity)
    assert rt.call(read) == list(range(1000))
    assert tracked.finished
    stream, _ = ext.stream(1000, capacity=capacity)
    assert asyncio.run(read()) == list(range(1000))


def test_rust_stream_that_fails_raises_at_its_place(ext: ModuleType) -> None:
    async def read() -> list[int]:
        items = [await anext(stream) for _ in range(3)]
        with pytest.raises(ValueError, match="3"):
            await anext(stream)
        return items

    stream, _ = ext.stream(10, fail_at=3)
    assert asyncio.run(read()) == [0, 1, 2]


def test_rust_stream_closed_by_python_is_dropped(ext: ModuleType, eventually: Eventually) -> None:
    async def read() -> int:
        item: int = await anext(stream)
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        return item

    stream, tracked = ext.stream(10**9)
    assert asyncio.run(read()) == 0
    eventually(lambda: tracked.dropped)
    assert not tracked.finished


def test_python_stream_api_reads_a_generator_on_the_runtimes_loop(
    rt: gilscope.PyRuntime, source: Any
) -> None:
    async def read(n: int, fail_at: int = -1) -> list[int]:
        return [item async for item in rt.stream(source, n, fail_at)]

    assert asyncio.run(read(1000)) == list(range(1000))
    with pytest.raises(ValueError, match="the generator broke") as caught:
        asyncio.run(read(10, 5))
    assert caught.value is source.broke
