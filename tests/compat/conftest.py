"""What the tests with other libraries share."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 30.0  # seconds until a call that hangs fails its test


class Bounded:
    """A runtime whose calls fail after a while instead of hanging."""

    def __init__(self, runtime: gilscope.PyRuntime) -> None:
        self.runtime = runtime

    def __call__(self, fun: Callable[..., Any], *args: Any) -> Any:
        return self.runtime.options(deadline=LIMIT).call(fun, *args)

    def each(self, fun: Callable[..., Any], count: int) -> list[Any]:
        """Call `fun` with each number below `count`, all at once; the results in order."""
        calls = self.runtime.options(deadline=LIMIT)
        futures = [calls.submit(fun, number) for number in range(count)]
        return [future.result(timeout=LIMIT) for future in futures]

    def left(self) -> set[str]:
        """The coroutines of the tasks on the loop, but for this look's and the runtime's own."""

        async def look() -> set[str]:
            tasks = asyncio.all_tasks() - {asyncio.current_task()}
            names = {task.get_coro().__qualname__ for task in tasks}
            return names - {"root"}

        return self(look)


@pytest.fixture
def call(rt: gilscope.PyRuntime) -> Iterator[Bounded]:
    """Calls on a runtime of the test's own; fails the test that leaves tasks behind."""
    bounded = Bounded(rt)
    yield bounded
    assert bounded.left() == set()


@pytest.fixture
def make() -> Iterator[Callable[..., Bounded]]:
    """Runtimes with options, shut down at the end of the test."""
    made: list[gilscope.PyRuntime] = []

    def new(**options: Any) -> Bounded:
        made.append(gilscope.PyRuntime(**options))
        return Bounded(made[-1])

    yield new
    for runtime in made:
        assert runtime.shutdown("cancel", deadline=20)["joined"]


@pytest.fixture
def threads() -> Callable[[str], list[str]]:
    """The names of the living threads that contain a word."""
    return lambda word: [t.name for t in threading.enumerate() if word in t.name]
