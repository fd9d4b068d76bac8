"""What an exception drags along is let go of, and its finaliser may call the runtime."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import traceback
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from concurrent.futures import Future

    from .conftest import Way

LIMIT = 30
# The package's files, and those compiled in: gilscope/loop.py, gilscope/errors.py.
OURS = (os.path.dirname(gilscope.__file__) + os.sep, "gilscope/")


def collected(ref: weakref.ref[Any]) -> bool:
    """Whether the object dies, given that the loop thread may still be letting go of it."""
    end = time.monotonic() + LIMIT
    while ref() is not None and time.monotonic() < end:
        gc.collect()
        time.sleep(0.001)
    return ref() is None


class Canary:
    pass


def test_e15_the_same_exception_gets_no_frames_of_ours(every_way: Way) -> None:
    error = ValueError("shared")

    async def boom() -> None:
        await asyncio.sleep(0)
        raise error

    for _ in range(5):
        assert every_way.error(boom) is error
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = [name for name in files if name.startswith(OURS)]
    assert ours == [], "frames of gilscope grow with each call"
    assert len([name for name in files if name == __file__]) == 5


def test_e15_two_calls_in_flight_raise_the_same_exception(rt: gilscope.PyRuntime) -> None:
    error = ValueError("shared")

    async def boom() -> None:
        await asyncio.sleep(0.01)
        raise error

    futures = [rt.submit(boom) for _ in range(2)]
    assert [future.exception(LIMIT) for future in futures] == [error, error]
    assert error.__context__ is None
    assert error.__cause__ is None


def test_e15_no_frame_is_kept_alive(every_way: Way) -> None:
    refs: list[weakref.ref[Canary]] = []

    async def boom() -> None:
        canary = Canary()  # lives as long as this frame
        refs.append(weakref.ref(canary))
        await asyncio.sleep(0)
        raise ValueError

    error = every_way.error(boom)
    assert refs[0]() is not None, "the traceback holds the frame while the exception lives"
    del error
    assert collected(refs[0])


def test_e15_an_error_that_an_outcome_raised_is_not_kept(rt: gilscope.PyRuntime) -> None:
    class Boom(Exception):
        pass

    errors: list[weakref.ref[BaseException]] = []
    asked = threading.Event()

    async def boom() -> None:
        raise Boom

    def callback(outcome: gilscope.Outcome[None]) -> None:
        try:
            outcome.result()  # the error's traceback has this frame, and that the outcome
        except Boom as error:
            errors.append(weakref.ref(error))
        asked.set()

    rt.submit_callback(callback, boom)
    assert asked.wait(LIMIT)
    assert rt.call(int) == 0  # the callback has returned
    assert collected(errors[0])


def test_e15_a_result_and_arguments_are_let_go_of(way: Way) -> None:
    argument = Canary()
    refs = [weakref.ref(argument)]

    async def make(_: Canary) -> Canary:
        await asyncio.sleep(0)
        made = Canary()
        refs.append(weakref.ref(made))
        return made

    result = way.value(make, argument)
    assert refs[1]() is result
    del result, argument
    assert all(collected(ref) for ref in refs)


@pytest.mark.parametrize("after_await", [False, True])
def test_e14_a_finaliser_may_call_the_runtime(way: Way, after_await: bool) -> None:
    from_finaliser: list[Future[str]] = []

    class Noisy(Exception):
        def __del__(self) -> None:
            from_finaliser.append(way.rt.submit(asyncio.sleep, 0, "called"))

    async def boom() -> None:
        if after_await:
            await asyncio.sleep(0)
        raise Noisy

    error = way.error(boom)
    ref = weakref.ref(error)
    del error
    assert collected(ref)
    assert [future.result(LIMIT) for future in from_finaliser] == ["called"]


def test_e14_finalisers_on_the_loop_thread_hold_no_lock(rt: gilscope.PyRuntime) -> None:
    again: list[Future[int]] = []
    refused: list[gilscope.WrongThread] = []

    class Noisy(Exception):
        def __del__(self) -> None:
            again.append(rt.submit(int, "7"))
            try:
                rt.call(int)
            except gilscope.WrongThread as error:
                refused.append(error)

    async def boom() -> None:
        raise Noisy

    for _ in range(50):
        rt.submit_callback(lambda outcome: None, boom)  # nobody keeps the outcome
    rt.submit(asyncio.sleep, 0.01).result(LIMIT)
    gc.collect()
    assert [future.result(LIMIT) for future in again] == [7] * 50
    assert len(refused) == 50
