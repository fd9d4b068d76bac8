"""What a function returns is awaited if it can be, whatever its type is."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator, Iterator

    from .conftest import Way


def plain(value: int) -> int:
    return value + 1


@pytest.mark.parametrize(
    ("fun", "argument", "expected"),
    [
        (plain, 1, 2),
        (len, "abc", 3),
        (dict, [(1, 2)], {1: 2}),
        ("%s!".__mod__, "x", "x!"),
        (functools.partial(plain, 4), None, 5),
    ],
    ids=["def", "builtin", "class", "method-wrapper", "partial"],
)
def test_a1_a_value_that_is_no_awaitable_is_the_result_at_once(
    way: Way, fun: Callable[..., Any], argument: Any, expected: Any
) -> None:
    arguments = () if argument is None else (argument,)
    with gilscope.trace() as trace:
        assert way.value(fun, *arguments) == expected
        way.value(int)
    first = next(span for span in trace.spans if span["span"] == "call")
    assert first["flags"] == ["immediate"]
    assert first["polls"] == 1


def test_a1_a_generator_is_a_value(way: Way) -> None:
    def count() -> Iterator[int]:
        yield from range(3)

    assert list(way.value(count)) == [0, 1, 2]


async def numbers() -> AsyncIterator[int]:
    yield 1


class Iterates:
    def __aiter__(self) -> AsyncIterator[int]:
        return numbers()


@pytest.mark.parametrize("fun", [numbers, Iterates], ids=["async generator", "async iterable"])
def test_a2_an_async_iterable_names_the_streaming_call(way: Way, fun: Any) -> None:
    error = way.error(fun)
    assert type(error) is TypeError
    assert "stream" in str(error)


def test_a2_what_can_be_awaited_and_iterated_is_awaited(way: Way) -> None:
    class Both(Iterates):
        def __await__(self) -> Generator[Any, Any, str]:
            yield from asyncio.sleep(0).__await__()
            return "awaited"

    assert way.value(Both) == "awaited"


def test_a3_a_future_of_this_loop_is_awaited(way: Way) -> None:
    def future() -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        made: asyncio.Future[str] = loop.create_future()
        loop.call_later(0.005, made.set_result, "set")
        return made

    assert way.value(future) == "set"


def test_a3_a_task_of_this_loop_is_awaited(way: Way) -> None:
    error = ValueError("of the task")

    async def work() -> None:
        await asyncio.sleep(0.001)
        raise error

    assert way.value(lambda: asyncio.ensure_future(asyncio.sleep(0.001, 7))) == 7
    assert way.error(lambda: asyncio.ensure_future(work())) is error
