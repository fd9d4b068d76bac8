"""Odd numbers of seconds."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 30
PASSED = [0, 0.0, -0.0, -1, -1e300, -math.inf]
NEVER = [math.inf, 1e300, 1.8e19, 5e9]
NAN = [math.nan, -math.nan]


def test_t2_a_deadline_that_has_passed_is_told_once(rt: gilscope.PyRuntime) -> None:
    told: list[Any] = []
    try:
        rt.options(deadline=0).submit_callback(told.append, int)
    except gilscope.DeadlineExceeded as error:
        told.append(error)
    rt.call(asyncio.sleep, 0.001)
    assert len(told) == 1


def attempts(calls: Any, fun: Callable[..., Any], *args: Any) -> list[Callable[[], Any]]:
    """The call, in each way."""

    async def awaited() -> Any:
        return await calls.call_async(fun, *args)

    return [
        lambda: calls.call(fun, *args),
        lambda: calls.submit(fun, *args).result(LIMIT),
        lambda: asyncio.run(asyncio.wait_for(awaited(), LIMIT)),
    ]


@pytest.mark.parametrize("deadline", PASSED)
def test_t2_a_deadline_that_has_passed_fails_at_once(
    rt: gilscope.PyRuntime, deadline: float
) -> None:
    ran: list[int] = []
    for attempt in attempts(rt.options(deadline=deadline), ran.append, 1):
        with pytest.raises(gilscope.DeadlineExceeded) as caught:
            attempt()
        assert caught.value.where == "queued"
    assert rt.call(int) == 0
    assert ran == []


@pytest.mark.parametrize("deadline", NEVER)
def test_t2_a_deadline_beyond_any_clock_is_none(rt: gilscope.PyRuntime, deadline: float) -> None:
    for attempt in attempts(rt.options(deadline=deadline), asyncio.sleep, 0.001, "done"):
        assert attempt() == "done"


@pytest.mark.parametrize("deadline", NAN)
def test_t2_nan_is_refused_before_any_call(rt: gilscope.PyRuntime, deadline: float) -> None:
    with pytest.raises(ValueError, match="not nan"):
        rt.options(deadline=deadline)
    with pytest.raises(ValueError, match="not nan"):
        rt.shutdown("drain", deadline=deadline)
    assert not rt.is_stopped
    assert rt.call(int) == 0


@pytest.mark.parametrize("deadline", ["1", [], object()])
def test_t2_what_is_no_number_is_refused(rt: gilscope.PyRuntime, deadline: Any) -> None:
    with pytest.raises(TypeError):
        rt.options(deadline=deadline)


def test_t2_the_smallest_deadline_is_one(rt: gilscope.PyRuntime) -> None:
    for seconds in (5e-324, 1e-12):
        with pytest.raises(gilscope.DeadlineExceeded):
            rt.options(deadline=seconds).call(asyncio.sleep, LIMIT)


@pytest.mark.parametrize("deadline", [*PASSED, *NEVER])
def test_t2_a_shutdown_takes_any_number(deadline: float) -> None:
    runtime = gilscope.PyRuntime("test")
    assert runtime.shutdown("cancel", deadline=deadline)["abandoned"] == 0
    assert runtime.is_stopped


@pytest.mark.parametrize("seconds", PASSED)
def test_t2_a_rust_sleep_of_no_time_ends(seconds: float) -> None:
    async def main() -> None:
        async with asyncio.timeout(LIMIT):
            await gilscope.rust.sleep(seconds)

    asyncio.run(main())


@pytest.mark.parametrize("seconds", NEVER)
def test_t2_a_rust_sleep_without_end_can_be_cancelled(seconds: float) -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(gilscope.rust.sleep(seconds), 0.01)

    asyncio.run(main())


@pytest.mark.parametrize("seconds", NAN)
def test_t2_a_rust_sleep_of_nan_is_refused(seconds: float) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="NaN"):
            await gilscope.rust.sleep(seconds)

    asyncio.run(main())
