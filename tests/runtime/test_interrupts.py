"""KeyboardInterrupt and SystemExit end the call that raised them, never the loop or its thread."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import gilscope

    from .conftest import Way

LIMIT = 30


def beside(way: Way) -> tuple[int, gilscope.CallFuture[str]]:
    """The loop thread's ident, and a call that is in flight."""
    ident = way.value(threading.get_ident)
    return ident, way.rt.submit(asyncio.sleep, 0.05, "beside")


def check_unharmed(way: Way, ident: int, other: gilscope.CallFuture[str]) -> None:
    assert other.result(LIMIT) == "beside"
    assert way.value(threading.get_ident) == ident
    assert not way.rt.is_stopped


def deliver(way: Way, error: BaseException, after_await: bool) -> None:
    async def boom() -> None:
        if after_await:
            await asyncio.sleep(0.001)
        raise error

    ident, other = beside(way)
    assert way.error(boom) is error
    check_unharmed(way, ident, other)


def deliver_plain(way: Way, error: BaseException) -> None:
    def boom() -> None:
        raise error

    ident, other = beside(way)
    assert way.error(boom) is error
    check_unharmed(way, ident, other)


def caught_by_parent(way: Way, error: BaseException) -> None:
    async def child() -> None:
        await asyncio.sleep(0.001)
        raise error

    async def parent() -> str:
        task = asyncio.create_task(child())
        with pytest.raises(type(error)) as caught:
            await task
        assert caught.value is error
        await asyncio.sleep(0.001)
        return "caught"

    ident, other = beside(way)
    assert way.value(parent) == "caught"
    check_unharmed(way, ident, other)


def out_of_task_group(way: Way, error: BaseException) -> None:
    async def child() -> None:
        await asyncio.sleep(0.001)
        raise error

    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(child())
            group.create_task(asyncio.sleep(60))

    ident, other = beside(way)
    assert way.error(parent) is error
    check_unharmed(way, ident, other)


@pytest.mark.parametrize("after_await", [False, True])
def test_e3_keyboard_interrupt_is_delivered_and_the_loop_goes_on(
    way: Way, after_await: bool
) -> None:
    deliver(way, KeyboardInterrupt("mine"), after_await)


def test_e3_keyboard_interrupt_of_a_plain_function(way: Way) -> None:
    deliver_plain(way, KeyboardInterrupt("mine"))


def test_e3_keyboard_interrupt_of_a_child_is_caught_by_its_parent(way: Way) -> None:
    caught_by_parent(way, KeyboardInterrupt("child"))


def test_e3_keyboard_interrupt_leaves_a_task_group(way: Way) -> None:
    out_of_task_group(way, KeyboardInterrupt("child"))


@pytest.mark.parametrize("after_await", [False, True])
def test_e4_system_exit_is_delivered_and_never_ends_the_thread(way: Way, after_await: bool) -> None:
    deliver(way, SystemExit(3), after_await)


def test_e4_system_exit_of_a_plain_function(way: Way) -> None:
    deliver_plain(way, SystemExit(3))


def test_e4_system_exit_of_a_child_is_caught_by_its_parent(way: Way) -> None:
    caught_by_parent(way, SystemExit(3))


def test_e4_system_exit_leaves_a_task_group(way: Way) -> None:
    out_of_task_group(way, SystemExit(3))


def test_e3_a_storm_of_interrupts_loses_no_call(rt: gilscope.PyRuntime) -> None:
    async def one(number: int) -> int:
        await asyncio.sleep(0.001)
        if number % 3 == 0:
            raise KeyboardInterrupt(number)
        if number % 3 == 1:
            await asyncio.gather(child(number), return_exceptions=True)
        return number

    async def child(number: int) -> None:
        raise SystemExit(number)

    futures = [rt.submit(one, number) for number in range(150)]
    for number, future in enumerate(futures):
        error = future.exception(LIMIT)
        if number % 3 == 0:
            assert isinstance(error, KeyboardInterrupt)
            assert error.args == (number,)
        elif error is None:
            assert future.result() == number
        else:  # gather passes an exit of its child on
            assert isinstance(error, SystemExit)
            assert error.args == (number,)
