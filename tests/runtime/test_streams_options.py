"""The options of a stream: names of its spans, a deadline for the whole, its context, its end."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

LIMIT = 20
VARIABLE = contextvars.ContextVar("VARIABLE", default=0)


async def count(n: int, *, start: int = 0) -> AsyncIterator[int]:
    for number in range(start, start + n):
        yield number


async def sums(n: int) -> AsyncIterator[int]:
    """Keeps its state in a context variable."""
    for _ in range(n):
        VARIABLE.set(VARIABLE.get() + 1)
        yield VARIABLE.get()


class Waits:
    """An async generator function that gives one item and then waits for its gate."""

    def __init__(self) -> None:
        self.waiting, self.gate = threading.Event(), threading.Event()
        self.ended: list[str] = []
        self.closed = threading.Event()

    async def __call__(self) -> AsyncIterator[int]:
        try:
            yield 1
            self.waiting.set()
            while not self.gate.is_set():  # noqa: ASYNC110 - opened by another thread
                await asyncio.sleep(0.001)
            self.ended.append("came to its next item")
            yield 2
            self.ended.append("went on after it")
        except asyncio.CancelledError:
            self.ended.append("cancelled")
            raise
        finally:
            await asyncio.sleep(0)
            self.closed.set()


def run(main: Coroutine[Any, Any, Any]) -> Any:
    """As `asyncio.run`, but not for ever."""
    return asyncio.run(asyncio.wait_for(main, LIMIT))


def read(stream: AsyncIterator[Any]) -> list[Any]:
    async def items() -> list[Any]:
        return [item async for item in stream]

    items_read: list[Any] = run(items())
    return items_read


def test_stream_takes_keyword_arguments(rt: gilscope.PyRuntime) -> None:
    assert read(rt.stream(count, 3, start=5)) == [5, 6, 7]


@pytest.mark.parametrize("name", [None, "numbers"])
def test_stream_spans_are_named_after_the_generator_function(
    rt: gilscope.PyRuntime, name: str | None
) -> None:
    with gilscope.trace() as trace:
        read(rt.options(name=name).stream(count, 2))
        rt.shutdown("drain", deadline=LIMIT)  # the close is a call that nobody waits for
    of = name or f"{__name__}.count"
    names = [span["name"] for span in trace.spans if span["span"] == "call"]
    steps = ["", ".__aiter__", ".__anext__", ".__anext__", ".__anext__", ".aclose"]
    assert names == [of + step for step in steps]


def test_stream_deadline_is_for_the_whole(rt: gilscope.PyRuntime) -> None:
    waits = Waits()

    async def main() -> str:
        stream = rt.options(deadline=0.5, name="waits").stream(waits)
        assert await anext(stream) == 1
        with pytest.raises(gilscope.DeadlineExceeded) as caught:
            await anext(stream)
        # Not what was left of it for this step.
        assert str(caught.value).startswith("waits.__anext__ did not end within 0.5 s (")
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        return caught.value.where

    assert run(main()) == "suspended"
    assert waits.closed.wait(LIMIT)
    assert waits.ended == ["cancelled"]


def test_stream_deadline_that_has_passed_refuses_the_next_item(rt: gilscope.PyRuntime) -> None:
    waits = Waits()
    waits.gate.set()

    async def main() -> None:
        stream = rt.options(deadline=0.5).stream(waits)
        assert await anext(stream) == 1
        await asyncio.sleep(0.6)  # the consumer is what is slow
        with pytest.raises(gilscope.DeadlineExceeded):
            await anext(stream)
        with pytest.raises(StopAsyncIteration):
            await anext(stream)

    run(main())
    assert waits.closed.wait(LIMIT)
    assert waits.ended == []


@pytest.mark.parametrize("deadline", [0, -1])
def test_stream_whose_deadline_has_passed_never_opens(
    rt: gilscope.PyRuntime, deadline: float
) -> None:
    ran: list[int] = []
    with pytest.raises(gilscope.DeadlineExceeded) as caught:
        read(rt.options(deadline=deadline).stream(ran.append, 1))
    assert caught.value.where == "queued"
    assert ran == []


def test_stream_deadline_runs_from_the_first_item_asked_for(rt: gilscope.PyRuntime) -> None:
    async def main() -> list[int]:
        stream = rt.options(deadline=0.5).stream(count, 2)
        await asyncio.sleep(0.6)
        return [await anext(stream)]

    assert run(main()) == [0]


def test_v1_a_stream_has_one_context_the_callers_copy_or_the_given_one(
    rt: gilscope.PyRuntime,
) -> None:
    VARIABLE.set(10)
    assert read(rt.stream(sums, 3)) == [11, 12, 13]
    assert VARIABLE.get() == 10
    context = contextvars.copy_context()
    context.run(VARIABLE.set, 20)
    assert read(rt.options(context=context).stream(sums, 3)) == [21, 22, 23]
    assert context[VARIABLE] == 23


def test_v1_the_steps_of_a_stream_from_rust_share_a_context(
    ext: Any, default_rt: gilscope.PyRuntime
) -> None:
    assert ext.collect(sums, 3) == ([1, 2, 3], None)
    assert ext.collect(sums, 2) == ([1, 2], None)


@pytest.mark.parametrize(
    ("on_drop", "ended"), [("cancel", ["cancelled"]), ("detach", ["came to its next item"])]
)
def test_stream_that_is_let_go_of_cancels_or_lets_its_step_end(
    rt: gilscope.PyRuntime, on_drop: Any, ended: list[str]
) -> None:
    waits = Waits()

    async def main() -> None:
        stream = rt.options(on_drop=on_drop).stream(waits)
        assert await anext(stream) == 1
        step = asyncio.ensure_future(anext(stream))
        await asyncio.to_thread(waits.waiting.wait, LIMIT)
        step.cancel()
        await asyncio.wait([step])
        del step
        await asyncio.wait_for(stream.aclose(), LIMIT)  # type: ignore[attr-defined]

    run(main())
    if on_drop == "detach":
        assert rt.call(int) == 0
        assert waits.ended == []
        waits.gate.set()
    assert waits.closed.wait(LIMIT)
    assert waits.ended == ended


def test_stream_that_a_full_queue_refuses_never_opens(
    eventually: Callable[[Callable[[], object]], None],
) -> None:
    started, gate = threading.Event(), threading.Event()

    def hold() -> None:
        started.set()
        assert gate.wait(LIMIT)

    with gilscope.PyRuntime("full", queue_size=1) as full:
        held = full.submit(hold)
        assert started.wait(LIMIT)
        queued = full.submit(int)
        with pytest.raises(gilscope.QueueFull):
            read(full.options(full="fail").stream(count, 1))
        gate.set()
        assert (held.result(LIMIT), queued.result(LIMIT)) == (None, 0)
        assert read(full.options(full="fail").stream(count, 1)) == [0]


def test_stream_let_go_of_waits_for_its_step_without_spinning(
    rt: gilscope.PyRuntime, eventually: Callable[[Callable[[], object]], None]
) -> None:
    closed, slow = threading.Event(), threading.Event()

    async def generator() -> AsyncIterator[int]:
        try:
            yield 1
            slow.set()
            await asyncio.sleep(1)
            yield 2
        finally:
            closed.set()

    async def take_one() -> None:
        stream = rt.options(on_drop="detach").stream(generator)
        await anext(stream)
        step = asyncio.ensure_future(anext(stream))
        assert await asyncio.to_thread(slow.wait, LIMIT)
        step.cancel()
        await asyncio.wait([step])

    with gilscope.trace() as trace:
        asyncio.run(take_one())
        eventually(closed.is_set)
        turns = sum(span["span"] == "loop.turn" for span in trace.spans)
    assert turns < 200, "a second of turns, each of them short"
