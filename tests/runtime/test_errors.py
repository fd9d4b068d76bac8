"""Whatever a callee raises reaches its caller as itself, and ends nothing else."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

import pytest

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
def test_e7_generator_exit_is_delivered(way: Way, after_await: bool, unraisable: list[Any]) -> None:
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
