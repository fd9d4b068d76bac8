"""Roots: coroutines of calls, as `gilscope.PyRuntime` drives them on its loop thread."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    import concurrent.futures
    from collections.abc import Callable, Iterator


class Roots:
    """Runs coroutine functions as roots; collects what the loop's exception handler is given."""

    def __init__(self, *, debug: bool = False) -> None:
        self.runtime = gilscope.PyRuntime("roots", debug=debug)
        self.reported: list[dict[str, Any]] = []
        self.loop: asyncio.AbstractEventLoop = self.runtime.call(asyncio.get_running_loop)
        self.loop.set_exception_handler(lambda _, context: self.reported.append(context))

    def submit(self, fun: Callable[..., Any], *args: Any) -> concurrent.futures.Future[Any]:
        """Start `fun(*args)` as a root."""
        return self.runtime.submit(fun, *args)

    def run(self, fun: Callable[..., Any], *args: Any) -> Any:
        """What a root returned; what it raised is raised."""
        return self.submit(fun, *args).result(10)

    def close(self) -> None:
        report = self.runtime.shutdown("cancel", deadline=10)
        assert report["joined"], report


@pytest.fixture
def roots() -> Iterator[Roots]:
    roots = Roots()
    yield roots
    roots.close()


@pytest.fixture
def debug_roots() -> Iterator[Roots]:
    """Roots of a loop in asyncio's debug mode."""
    roots = Roots(debug=True)
    yield roots
    roots.close()
