"""`map`: an iterator that can be closed, and that cancels what it will not ask for."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import gilscope

LIMIT = 20


class Waiters:
    """A function for `map`: item 0 is the result at once, a negative one fails, others wait."""

    def __init__(self) -> None:
        self.waiting = threading.Semaphore(0)
        self.cancelled = threading.Semaphore(0)

    async def __call__(self, item: int) -> int:
        if item == 0:
            return item
        if item < 0:
            raise ValueError("item")
        self.waiting.release()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.release()
            raise
        return item

    def were_cancelled(self, number: int) -> bool:
        return all(self.cancelled.acquire(timeout=LIMIT) for _ in range(number))

    def items(self, first: int) -> Iterator[int]:
        """`first`, and three items that wait; the fourth is taken when they have begun to."""
        yield from (first, 1, 2, 3)
        assert all(self.waiting.acquire(timeout=LIMIT) for _ in range(3))
        yield 0


ENDS: dict[str, Callable[[list[Any]], object]] = {
    "closed": lambda held: held[0].close(),
    "let_go": lambda held: held.clear(),
}


@pytest.mark.parametrize("end", ENDS)
def test_a_map_that_is_left_cancels_what_runs(rt: gilscope.PyRuntime, end: str) -> None:
    waiters = Waiters()
    held = [rt.map(waiters, waiters.items(0), concurrency=5)]
    assert next(held[0]) == 0
    ENDS[end](held)
    assert waiters.were_cancelled(3)


def test_an_error_of_a_map_cancels_what_runs_and_ends_it(rt: gilscope.PyRuntime) -> None:
    waiters = Waiters()
    results = rt.map(waiters, waiters.items(-1), concurrency=5)
    with pytest.raises(ValueError, match="item"):
        next(results)
    assert waiters.were_cancelled(3)
    assert list(results) == []


def test_what_the_iterable_of_a_map_raises_comes_out(rt: gilscope.PyRuntime) -> None:
    def items() -> Iterator[int]:
        yield 0
        raise LookupError("iterable")

    results = rt.map(Waiters(), items(), concurrency=1)
    assert iter(results) is results
    assert next(results) == 0
    with pytest.raises(LookupError, match="iterable"):
        next(results)
    assert list(results) == []
