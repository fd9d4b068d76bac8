"""Whatever a callee raises reaches its caller as itself, and ends nothing else."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Way


def raiser(error: BaseException, *, after_await: bool) -> Callable[[], Any]:
    """An async function that raises `error`, before or after it was suspended."""

    async def boom() -> None:
        if after_await:
            await asyncio.sleep(0)
        raise error

    return boom


def alive(way: Way) -> bool:
    return bool(way.value(asyncio.sleep, 0.001, "alive") == "alive")


@pytest.mark.parametrize("after_await", [False, True])
def test_e1_an_exception_is_delivered_as_the_same_object(way: Way, after_await: bool) -> None:
    error = ValueError("x", 1)
    error.add_note("seen by a test")
    cause = error.__cause__ = KeyError("why")
    got = way.error(raiser(error, after_await=after_await))
    assert got is error
    assert got.args == ("x", 1)
    assert got.__notes__ == ["seen by a test"]
    assert got.__cause__ is cause
    assert "boom" in [frame.name for frame in traceback.extract_tb(got.__traceback__)]
    assert alive(way)


@pytest.mark.parametrize("after_await", [False, True])
def test_e2_a_base_exception_is_delivered_as_is(way: Way, after_await: bool) -> None:
    class Stop(BaseException):
        pass

    error = Stop("all")
    other = way.rt.submit(asyncio.sleep, 0.05, "other")
    assert way.error(raiser(error, after_await=after_await)) is error
    assert other.result(30) == "other"
    assert alive(way)


@pytest.mark.parametrize("after_await", [False, True])
def test_e5_a_group_with_a_keyboard_interrupt_is_delivered_whole(
    way: Way, after_await: bool
) -> None:
    parts = (KeyboardInterrupt(), ValueError(1))
    error = BaseExceptionGroup("both", parts)
    got = way.error(raiser(error, after_await=after_await))
    assert got is error
    assert got.exceptions == parts
    assert alive(way)


@pytest.mark.parametrize("after_await", [False, True])
def test_e7_generator_exit_is_delivered(
    way: Way, after_await: bool, unraisable: list[Any]
) -> None:
    error = GeneratorExit("mine")
    assert way.error(raiser(error, after_await=after_await)) is error
    assert alive(way)
    assert unraisable == []


@pytest.mark.parametrize("after_await", [False, True])
def test_e8_stop_iteration_of_a_coroutine_is_a_runtime_error(way: Way, after_await: bool) -> None:
    error = StopIteration(5)
    got = way.error(raiser(error, after_await=after_await))
    assert type(got) is RuntimeError
    assert got.__cause__ is error
    assert alive(way)


def test_e8_stop_iteration_of_a_plain_function_is_no_return_value(way: Way) -> None:
    error = StopIteration(5)

    def plain() -> None:
        raise error

    got = way.error(plain)
    assert got is error or got.__cause__ is error
    assert alive(way)


@pytest.mark.parametrize("after_await", [False, True])
def test_e8_stop_async_iteration_is_delivered(way: Way, after_await: bool) -> None:
    error = StopAsyncIteration(5)
    assert way.error(raiser(error, after_await=after_await)) is error
    assert alive(way)


class Unprintable(Exception):
    def __str__(self) -> str:
        raise KeyError("no text")

    __repr__ = __str__


class Interrupting(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


class NotText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


@pytest.mark.parametrize("kind", [Unprintable, Interrupting, NotText])
def test_e9_an_exception_that_cannot_be_printed(
    way: Way, kind: type[Exception], unraisable: list[Any]
) -> None:
    error = kind()
    with gilscope.trace() as trace:
        assert way.error(raiser(error, after_await=False)) is error
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
