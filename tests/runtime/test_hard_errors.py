"""Exceptions that are hard to have: without text, without memory, without stack."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from .conftest import Way


def alive(way: Way) -> bool:
    return bool(way.value(asyncio.sleep, 0.001, "alive") == "alive")


class Unprintable(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")

    __repr__ = __str__


class Loud(BaseException):
    pass


class Interrupting(Exception):
    def __str__(self) -> str:
        raise Loud  # as bad as KeyboardInterrupt, but a failing test's report survives it

    __repr__ = __str__


class NotText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [Unprintable, Interrupting, NotText])
def test_e9_an_exception_that_cannot_be_printed(
    way: Way, kind: type[Exception], unraisable: list[Any]
) -> None:
    error = kind()

    async def boom() -> None:
        raise error

    with gilscope.trace() as trace:
        assert way.error(boom) is error
        assert alive(way)
    texts = [span["error"] for span in trace.spans if span["span"] == "call" and "error" in span]
    assert texts == [{"type": texts[0]["type"], "message": "<its __str__ raised>"}]
    assert texts[0]["type"].endswith(kind.__name__)
    assert unraisable == []


def test_e13_memory_error_is_delivered(way: Way) -> None:
    async def greedy() -> None:
        await asyncio.sleep(0)
        bytearray(1 << 62)

    assert type(way.error(greedy)) is MemoryError
    assert alive(way)


@pytest.mark.parametrize("in_coroutine", [True, False])
def test_e13_recursion_error_is_delivered(way: Way, in_coroutine: bool) -> None:
    async def deep() -> None:
        await deep()

    def flat() -> None:
        flat()

    assert type(way.error(deep if in_coroutine else flat)) is RecursionError
    assert alive(way)
