"""Any callable will do: whether its result can be awaited decides, not what it is."""

from __future__ import annotations

import asyncio
import functools
import traceback
import types
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from .conftest import Way


@types.coroutine
def old_style(value: int) -> Generator[Any, Any, int]:
    yield from asyncio.sleep(0.001).__await__()
    return value


async def modern(value: int) -> int:
    await asyncio.sleep(0.001)
    return value


class Callee:
    async def __call__(self, value: int) -> int:
        return await modern(value)

    async def method(self, value: int) -> int:
        return await modern(value)

    @classmethod
    async def of_class(cls, value: int) -> int:
        return await modern(value)

    @staticmethod
    async def static(value: int) -> int:
        return await modern(value)


class Compiled(Coroutine[Any, Any, int]):
    """A coroutine that is not of the interpreter's own type, as Cython makes them."""

    def __init__(self, value: int) -> None:
        self.inner = modern(value)

    def __await__(self) -> Generator[Any, Any, int]:
        return self.inner.__await__()

    def send(self, value: Any) -> Any:
        return self.inner.send(value)

    def throw(self, *error: Any) -> Any:
        return self.inner.throw(*error)

    def close(self) -> None:
        self.inner.close()


KINDS: dict[str, Callable[..., Any]] = {
    "generator-based": old_style,
    "partial": functools.partial(modern),
    "callable object": Callee(),
    "bound method": Callee().method,
    "class method": Callee.of_class,
    "static method": Callee.static,
    "lambda": lambda value: modern(value),
    "foreign coroutine": Compiled,
    "wrapped": functools.wraps(modern)(lambda value: modern(value)),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a9_awaitability_decides_not_the_type(way: Way, kind: str) -> None:
    assert way.value(KINDS[kind], 5) == 5


def test_a10_a_function_that_raises_before_it_returns_a_coroutine(way: Way) -> None:
    error = ValueError("early")

    def early() -> Coroutine[Any, Any, int]:
        error.add_note("noted")
        raise error

    got = way.error(early)
    assert got is error
    assert got.__notes__ == ["noted"]
    assert "early" in [frame.name for frame in traceback.extract_tb(got.__traceback__)]
    assert way.value(modern, 1) == 1


def test_a10_a_wrong_number_of_arguments(way: Way) -> None:
    error = way.error(modern)
    assert type(error) is TypeError
    assert "value" in str(error)
