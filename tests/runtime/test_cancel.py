"""Cancelling from the caller's side, at each stage of a call."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 30


class Held:
    """A call that holds the loop inside a poll until it is released."""

    def __init__(self, rt: gilscope.PyRuntime) -> None:
        self.entered, self.release = threading.Event(), threading.Event()
        self.future = rt.submit(self.body)
        assert self.entered.wait(LIMIT)

    async def body(self) -> str:
        self.entered.set()
        assert self.release.wait(LIMIT)
        await asyncio.sleep(0.001)
        return "ended"


@pytest.fixture
def held(rt: gilscope.PyRuntime) -> Iterator[Held]:
    made = Held(rt)
    yield made
    made.release.set()


def caller_cancelled(future: gilscope.CallFuture[Any]) -> bool:
    error = future.exception(LIMIT)
    return isinstance(error, gilscope.CallCancelled) and error.by == "caller"


def test_x1_before_start_the_body_never_runs(rt: gilscope.PyRuntime) -> None:
    ran: list[str] = []

    async def main() -> None:
        task = asyncio.ensure_future(rt.call_async(ran.append, "task"))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        rt.call_async(ran.append, "closed").close()

    asyncio.run(main())
    rt.call(int)
    assert ran == []


def test_x1_while_queued_the_body_never_runs(rt: gilscope.PyRuntime, held: Held) -> None:
    ran: list[int] = []
    future = rt.submit(ran.append, 1)
    assert future.cancel()
    held.release.set()
    assert caller_cancelled(future)
    assert held.future.result(LIMIT) == "ended"
    assert ran == []


def test_x1_while_polling_it_is_cancelled_at_the_next_await(
    rt: gilscope.PyRuntime, held: Held
) -> None:
    assert held.future.cancel()
    assert not held.future.done()
    held.release.set()
    assert caller_cancelled(held.future)
    assert rt.call(int) == 0


def test_x1_while_suspended_the_body_gets_cancelled_error_once(rt: gilscope.PyRuntime) -> None:
    started, seen = threading.Event(), []

    async def body() -> None:
        started.set()
        try:
            await asyncio.sleep(LIMIT)
        except asyncio.CancelledError as error:
            seen.append(type(error))
            raise

    future = rt.submit(body)
    assert started.wait(LIMIT)
    assert future.cancel()
    assert caller_cancelled(future)
    assert seen == [asyncio.CancelledError]


def test_x1_at_completion_there_is_one_outcome(rt: gilscope.PyRuntime) -> None:
    async def body(number: int) -> int:
        await asyncio.sleep(0)
        return number

    kinds = set()
    for number in range(400):
        future = rt.submit(body, number)
        asked = future.cancel() if number % 2 else (number % 4 == 0 and rt.call(future.cancel))
        error = future.exception(LIMIT)
        if error is None:
            assert future.result() == number
        else:
            assert asked, "cancelled although cancel() said no"
            assert caller_cancelled(future)
        kinds.add(type(error))
        assert future.cancel() is False
    assert type(None) in kinds


def test_x1_when_the_body_ends_in_the_same_poll_the_result_stands(rt: gilscope.PyRuntime) -> None:
    entered, release = threading.Event(), threading.Event()

    async def body() -> str:
        entered.set()
        assert release.wait(LIMIT)
        return "done"

    future = rt.submit(body)
    assert entered.wait(LIMIT)
    assert future.cancel()
    release.set()
    assert future.result(LIMIT) == "done"


def test_x1_afterwards_it_is_a_no_op(rt: gilscope.PyRuntime) -> None:
    future = rt.submit(asyncio.sleep, 0, "kept")
    assert future.result(LIMIT) == "kept"
    assert future.cancel() is False
    assert future.cancelled() is False
    assert future.result() == "kept"
