"""Streams both ways: nothing lost, errors delivered, the other side closed when one lets go."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"
BROKE = ValueError("the generator broke")


class Source:
    """An async generator function that remembers what became of it."""

    def __init__(self) -> None:
        self.finished = threading.Event()
        self.given: list[int] = []

    async def __call__(self, n: int, fail_at: int = -1) -> AsyncIterator[int]:
        try:
            for i in range(n):
                await asyncio.sleep(0)
                if i == fail_at:
                    raise BROKE
                self.given.append(i)
                yield i
        finally:
            await asyncio.sleep(0)
            self.finished.set()


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_stream_of_a_generator_gives_every_item_in_order(
    ext: ModuleType, default_rt: gilscope.PyRuntime, source: Source, pause: float
) -> None:
    n = 1000 if pause == 0 else 100
    items, error = ext.collect(source, n, pause=pause, ints=True)
    assert error is None
    assert items == list(range(n))
    assert source.finished.wait(10)


def test_stream_of_a_raising_generator_delivers_its_error(
    ext: ModuleType, default_rt: gilscope.PyRuntime, source: Source
) -> None:
    items, error = ext.collect(source, 10, 5)
    assert items == [0, 1, 2, 3, 4]
    assert error is BROKE
    assert source.finished.wait(10)


def test_stream_dropped_by_rust_runs_the_generators_finally(
    ext: ModuleType, default_rt: gilscope.PyRuntime, source: Source
) -> None:
    items, error = ext.collect(source, 1000, take=3)
    assert (items, error) == ([0, 1, 2], None)
    assert source.finished.wait(10)
    assert len(source.given) == 3  # whoever is slower sets the pace


def test_stream_dropped_while_an_item_is_awaited_runs_finally(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any
) -> None:
    finished = threading.Event()

    async def waits() -> AsyncIterator[int]:
        try:
            yield 1
            await gate()
            yield 2
        finally:
            finished.set()

    taken = threading.Thread(target=ext.collect, args=(waits,))
    taken.start()
    assert gate.started.wait(10)
    default_rt.shutdown("cancel", deadline=10)
    taken.join(10)
    assert not taken.is_alive()
    assert finished.wait(10)


def test_stream_of_what_is_no_async_iterator_says_so(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    items, error = ext.collect(lambda: 42)
    assert items == []
    assert type(error) is TypeError
    assert "async iter" in str(error)


def test_stream_item_that_does_not_convert_ends_it(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    finished = threading.Event()

    async def mixed() -> AsyncIterator[object]:
        try:
            yield 1
            yield "two"
            yield 3
        finally:
            finished.set()

    items, error = ext.collect(mixed, ints=True)
    assert items == [1]
    assert isinstance(error, gilscope.ResultError)
    assert error.value == "two"
    assert finished.wait(10)


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
        items = []
        with pytest.raises(ValueError, match="3"):
            async for item in stream:
                items.append(item)
        return items

    stream, _ = ext.stream(10, fail_at=3)
    assert asyncio.run(read()) == [0, 1, 2]


def test_rust_stream_closed_by_python_is_dropped(ext: ModuleType, eventually: Eventually) -> None:
    async def read() -> int:
        async for item in stream:
            break
        await stream.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        return item

    stream, tracked = ext.stream(10**9)
    assert asyncio.run(read()) == 0
    eventually(lambda: tracked.dropped)
    assert not tracked.finished


def test_python_stream_api_reads_a_generator_on_the_runtimes_loop(
    rt: gilscope.PyRuntime, source: Source
) -> None:
    async def read(n: int, fail_at: int = -1) -> list[int]:
        return [item async for item in rt.stream(source, n, fail_at)]

    assert asyncio.run(read(1000)) == list(range(1000))
    with pytest.raises(ValueError, match="the generator broke") as caught:
        asyncio.run(read(10, 5))
    assert caught.value is BROKE
