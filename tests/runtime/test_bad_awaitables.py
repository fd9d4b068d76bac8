"""Awaitables that cannot be awaited here fail their own call, clearly, and nothing else."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Generator

    from .conftest import Way

LIMIT = 30


def test_a4_a_future_of_another_loop(way: Way) -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:

        async def inside() -> None:
            await loop.create_future()

        for fun in (loop.create_future, inside):
            error = way.error(fun)
            assert type(error) is RuntimeError
            assert "different loop" in str(error)
        assert way.value(asyncio.sleep, 0.001, "ours lives") == "ours lives"
        theirs = asyncio.run_coroutine_threadsafe(asyncio.sleep(0.001, "theirs lives"), loop)
        assert theirs.result(LIMIT) == "theirs lives"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(LIMIT)
        loop.close()


class Yields:
    """An awaitable that yields what nobody can wait for."""

    def __init__(self, value: object) -> None:
        self.value = value

    def __await__(self) -> Generator[Any, Any, str]:
        got = yield self.value
        return f"resumed with {got}"


class NoIterator:
    def __await__(self) -> Any:
        return 42


@pytest.mark.parametrize("value", [42, "text", object()], ids=["42", "text", "object"])
def test_a5_await_that_yields_a_stranger(way: Way, value: object) -> None:
    async def inside() -> str:
        return await Yields(value)

    for fun in (lambda: Yields(value), inside):
        error = way.error(fun)
        assert type(error) is RuntimeError
        assert "bad yield" in str(error)
    assert way.value(int) == 0


def test_a5_await_that_is_no_iterator(way: Way) -> None:
    error = way.error(NoIterator)
    assert type(error) is TypeError
    assert "__await__" in str(error)
    assert way.value(int) == 0


class Forever:
    def __await__(self) -> Generator[None, None, None]:
        while True:
            yield


def test_a6_an_endless_await_lets_others_be_served_and_can_be_cancelled(
    rt: gilscope.PyRuntime,
) -> None:
    endless = rt.submit(Forever)
    served = [rt.submit(asyncio.sleep, 0.001, number) for number in range(20)]
    assert [future.result(LIMIT) for future in served] == list(range(20))
    assert rt.submit(len, "abc").result(LIMIT) == 3
    assert not endless.done()
    assert endless.cancel()
    error = endless.exception(LIMIT)
    assert isinstance(error, gilscope.CallCancelled)
    assert error.by == "caller"


def test_a6_a_deadline_ends_an_endless_await(rt: gilscope.PyRuntime) -> None:
    with pytest.raises(gilscope.DeadlineExceeded):
        rt.options(deadline=0.05).call(Forever)
    assert rt.submit(int).result(LIMIT) == 0


def test_a7_a_coroutine_that_was_awaited_before(way: Way) -> None:
    async def once() -> str:
        return "first"

    coroutine = once()
    assert way.value(lambda: coroutine) == "first"
    error = way.error(lambda: coroutine)
    assert type(error) is RuntimeError
    assert "cannot reuse" in str(error)


def test_a8_a_coroutine_object_handed_in_twice_at_once(rt: gilscope.PyRuntime) -> None:
    go = threading.Event()
    started = threading.Event()

    async def body() -> str:
        started.set()
        await asyncio.to_thread(go.wait, LIMIT)
        return "untouched"

    coroutine = body()
    first = rt.submit(lambda: coroutine)
    assert started.wait(LIMIT)
    second = rt.submit(lambda: coroutine).exception(LIMIT)
    assert type(second) is RuntimeError
    assert "awaited already" in str(second)
    assert not first.done()
    go.set()
    assert first.result(LIMIT) == "untouched"
