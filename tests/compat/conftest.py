"""What the tests with other libraries share."""

from __future__ import annotations

import asyncio
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 30.0  # seconds until a call that hangs fails its test


def this_task() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


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
            return names - {"Root.start", "Root.live"}

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


@dataclass(frozen=True, slots=True)
class Kind:
    """A way to run a loop: options of the runtime, and how to tell that it is in use."""

    options: dict[str, Any]
    is_in_use: Callable[[asyncio.AbstractEventLoop], bool]


def eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    return loop


def handler(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    raise AssertionError(f"nothing should come here: {context}")


def loop_with_handler() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(handler)
    return loop


KINDS = {
    "uvloop": Kind(
        {"loop_factory": uvloop.new_event_loop}, lambda loop: isinstance(loop, uvloop.Loop)
    ),
    "uvloop_debug": Kind(
        {"loop_factory": uvloop.new_event_loop, "debug": True},
        lambda loop: isinstance(loop, uvloop.Loop) and loop.get_debug(),
    ),
    "debug": Kind({"debug": True}, lambda loop: loop.get_debug()),
    "factory": Kind(
        {"loop_factory": asyncio.new_event_loop},
        lambda loop: isinstance(loop, asyncio.SelectorEventLoop),
    ),
    "exception_handler": Kind(
        {"loop_factory": loop_with_handler}, lambda loop: loop.get_exception_handler() is handler
    ),
}
if sys.version_info >= (3, 12):
    KINDS["eager"] = Kind(
        {"loop_factory": eager_loop},
        lambda loop: loop.get_task_factory() is asyncio.eager_task_factory,
    )


@pytest.fixture(params=KINDS.values(), ids=KINDS.keys())
def kind(request: pytest.FixtureRequest) -> Kind:
    kind: Kind = request.param
    return kind


@pytest.fixture
def on(kind: Kind, make: Callable[..., Bounded]) -> Iterator[Bounded]:
    """Calls on such a loop; no task may be left behind."""
    bounded = make(**kind.options)
    yield bounded
    assert bounded.left() == set()
