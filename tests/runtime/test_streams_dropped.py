"""What dropping a stream does to the iterator behind it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    import gilscope


def test_stream_dropped_by_rust_runs_the_generators_finally(
    ext: ModuleType, default_rt: gilscope.PyRuntime, source: Any
) -> None:
    items, error = ext.collect(source, 1000, take=3)
    assert (items, error) == ([0, 1, 2], None)
    assert source.finished.wait(10)
    assert len(source.given) == 3  # whoever is slower sets the pace


class Waits:
    """An async generator function whose second item waits at a gate."""

    def __init__(self, gate: Any) -> None:
        self.gate = gate
        self.finished = threading.Event()

    async def __call__(self) -> AsyncIterator[int]:
        try:
            yield 1
            await self.gate()
            yield 2
        finally:
            await asyncio.sleep(0)
            self.finished.set()


@pytest.fixture
def waits(gate: Any) -> Waits:
    return Waits(gate)


def test_stream_dropped_by_rust_while_an_item_is_awaited_runs_finally(
    ext: ModuleType, default_rt: gilscope.PyRuntime, waits: Waits, eventually: Any
) -> None:
    stream, items = ext.stream_begun(waits, 1)
    assert items == [1]
    assert waits.gate.started.wait(10)
    assert not waits.finished.is_set()
    stream.drop()
    assert waits.gate.cancelled.wait(10)
    assert waits.finished.wait(10)
    assert not waits.gate.returned.is_set()
    eventually(lambda: not default_rt.in_flight())
    assert default_rt.call(int) == 0


def test_stream_ended_by_a_shutdown_while_an_item_is_awaited_runs_finally(
    ext: ModuleType, default_rt: gilscope.PyRuntime, waits: Waits
) -> None:
    taken = threading.Thread(target=ext.collect, args=(waits,))
    taken.start()
    assert waits.gate.started.wait(10)
    default_rt.shutdown("cancel", deadline=10)
    taken.join(10)
    assert not taken.is_alive()
    assert waits.finished.wait(10)


class Countdown:
    """An async iterator that is no generator, so that asyncio does not close it by itself."""

    def __init__(self) -> None:
        self.given = 0
        self.closed = threading.Event()

    def __call__(self) -> Countdown:
        return self

    def __aiter__(self) -> Countdown:
        return self

    async def __anext__(self) -> int:
        self.given += 1
        return self.given

    async def aclose(self) -> None:
        await asyncio.sleep(0)
        self.closed.set()


def test_stream_dropped_closes_any_iterator(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    items = Countdown()
    assert ext.collect(items, take=2) == ([1, 2], None)
    assert items.closed.wait(10)
    assert items.given == 2


def test_stream_dropped_while_the_queue_is_full_closes_too(ext: ModuleType) -> None:
    release, blocked = threading.Event(), threading.Event()

    def block() -> None:
        blocked.set()
        assert release.wait(30)

    items, runtime = Countdown(), ext.Runtime(queue_size=1)
    arguments = {"take": 1, "pause": 0.3, "runtime": runtime}
    taking = threading.Thread(target=ext.collect, args=(items,), kwargs=arguments)
    taking.start()
    while not items.given:
        taking.join(0.001)
    ext.send("discard", block, runtime=runtime)
    assert blocked.wait(10)
    runtime.try_many(int, 10)
    taking.join(10)  # the stream is dropped while nothing can be queued
    assert not taking.is_alive()
    release.set()
    assert items.closed.wait(10)
    assert runtime.shutdown("cancel", 10)[2]
