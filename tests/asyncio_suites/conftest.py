"""CPython's own asyncio tests, driven through a runtime: what there is and how each is run.

Three ways in which those suites run a coroutine, and what takes their place here:

- `isolated`: an `IsolatedAsyncioTestCase`; its runner is replaced, so that set-up, test, tear-down
  and clean-ups are each a `call`, in the Context of the test.
- `run`: `asyncio.run(coroutine)`; it becomes a `call` while the test runs.
- `loop`: `loop.run_until_complete(coroutine)` on a loop the test made; the loop it gets is the
  runtime's, and `run_until_complete` becomes a `call`.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import inspect
import sys
import threading
import tomllib
import unittest
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import gilscope
import pytest

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from contextvars import Context

PACKAGE = "test.test_asyncio"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LISTED = Path(__file__).with_name("excluded.toml")

# No test of these suites takes longer than some seconds.
DEADLINE = 60.0

# Suite → the way its coroutines are run; where it differs by version, the way of the older ones is
# used for the classes that are no `IsolatedAsyncioTestCase`.
SUITES = {
    f"{PACKAGE}.test_futures2": "isolated",
    f"{PACKAGE}.test_locks": "isolated",
    f"{PACKAGE}.test_queues": "isolated",
    f"{PACKAGE}.test_server": "isolated",
    f"{PACKAGE}.test_staggered": "isolated",
    f"{PACKAGE}.test_taskgroups": "isolated",
    f"{PACKAGE}.test_threads": "isolated",
    f"{PACKAGE}.test_timeouts": "isolated",
    f"{PACKAGE}.test_unix_events": "isolated",
    f"{PACKAGE}.test_waitfor": "isolated",
    "test.test_contextlib_async": "run",
    f"{PACKAGE}.test_eager_task_factory": "loop",
    f"{PACKAGE}.test_subprocess": "loop",
    f"{PACKAGE}.test_streams": "loop",
    f"{PACKAGE}.test_sock_lowlevel": "loop",
    f"{PACKAGE}.test_buffered_proto": "loop",
    f"{PACKAGE}.test_pep492": "loop",
    f"{PACKAGE}.test_runners": "run",
    f"{PACKAGE}.test_context": "run",
    f"{PACKAGE}.test_tasks": "loop",
    f"{PACKAGE}.test_futures": "loop",
    "test.test_asyncgen": "loop",
    "test.test_coroutines": "loop",
}


@dataclass(frozen=True, slots=True)
class Case:
    """A test of CPython's."""

    suite: str
    cls: type[unittest.TestCase]
    method: str

    @property
    def name(self) -> str:
        return f"{self.suite.removeprefix('test.')}.{self.cls.__name__}.{self.method}"

    @property
    def way(self) -> str:
        if issubclass(self.cls, unittest.IsolatedAsyncioTestCase):
            return "isolated"
        return SUITES[self.suite]


def load(suite: str) -> Any:
    """Import a suite, or None where this Python has none of that name."""
    if importlib.util.find_spec(suite) is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(suite)


def is_driven(case: Case) -> bool:
    """Whether the test runs coroutines; one that only inspects an object has nothing to drive."""
    method = getattr(case.cls, case.method)
    if case.way == "isolated":
        return inspect.iscoroutinefunction(method)
    if case.way == "run":
        return inspect.iscoroutinefunction(inspect.unwrap(method))
    return SUITES[case.suite] == "loop"


def collect(suite: str) -> list[Case]:
    """The tests of a suite that run coroutines."""
    module = load(suite)
    loader = unittest.TestLoader()
    classes = [
        cls
        for cls in vars(module or object).values()
        if isinstance(cls, type) and issubclass(cls, unittest.TestCase) and cls.__module__ == suite
    ]
    cases = [Case(suite, cls, name) for cls in classes for name in loader.getTestCaseNames(cls)]
    return [case for case in cases if is_driven(case)]


def excluded() -> dict[str, str]:
    """The tests left out on this Python, each with its reason."""
    rows = tomllib.loads(LISTED.read_text())["test"]
    return {name: row["reason"] for row in rows if VERSION in row["on"] for name in row["names"]}


class CallRunner:
    """In the place of a test's `asyncio.Runner`: each `run` is a call."""

    def __init__(self, runtime: gilscope.PyRuntime) -> None:
        self._runtime = runtime

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self._runtime.call(asyncio.get_running_loop)

    def run(self, coroutine: Awaitable[Any], *, context: Context | None = None) -> Any:
        calls = self._runtime.options(context=context, deadline=DEADLINE)
        return calls.call(lambda: coroutine)

    def close(self) -> None:
        """Leave the runtime to whoever made it."""


def isolated(cls: type[Any], runtime: gilscope.PyRuntime) -> type[unittest.TestCase]:
    """`cls` with every step of its tests, functions too, run on the loop thread."""

    class Driven(cls):  # type: ignore[misc]
        def _setupAsyncioRunner(self) -> None:  # noqa: N802
            self._asyncioRunner = CallRunner(runtime)

        def _on_loop(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
            calls = runtime.options(context=self._asyncioTestContext, deadline=DEADLINE)
            return calls.call(function, *args, **kwargs)

        _callAsync = _callMaybeAsync = _on_loop  # noqa: N815

        def _callSetUp(self) -> None:  # noqa: N802
            self._on_loop(self.setUp)
            self._on_loop(self.asyncSetUp)

        def _callTearDown(self) -> None:  # noqa: N802
            self._on_loop(self.asyncTearDown)
            self._on_loop(self.tearDown)

    Driven.__name__, Driven.__qualname__ = cls.__name__, cls.__qualname__
    return Driven


class BorrowedLoop(asyncio.SelectorEventLoop):
    """A runtime's loop that a test takes for its own."""

    runtime: gilscope.PyRuntime
    thread: threading.Thread | None = None

    def run_until_complete(self, future: Any) -> Any:
        """Call and wait; the runtime itself runs its loop through here, on its own thread."""
        if self.thread is None:
            self.thread = threading.current_thread()
        if threading.current_thread() is self.thread:
            return super().run_until_complete(future)
        return self.runtime.options(deadline=DEADLINE).call(lambda: future)

    def close(self) -> None:
        """Only the runtime closes it."""
        if threading.current_thread() is self.thread:
            super().close()


@contextlib.contextmanager
def as_isolated(case: Case) -> Iterator[type[unittest.TestCase]]:
    with gilscope.PyRuntime() as runtime:
        yield isolated(case.cls, runtime)


@contextlib.contextmanager
def as_run(case: Case) -> Iterator[type[unittest.TestCase]]:
    with gilscope.PyRuntime() as runtime:
        with mock.patch("asyncio.run", CallRunner(runtime).run):
            yield case.cls


@contextlib.contextmanager
def as_loop(case: Case) -> Iterator[type[unittest.TestCase]]:
    loop = BorrowedLoop()
    with gilscope.PyRuntime(loop_factory=lambda: loop) as runtime:
        loop.runtime = runtime
        runtime.call(asyncio.get_running_loop)
        with mock.patch("asyncio.new_event_loop", lambda: loop):
            yield case.cls


WAYS = {"isolated": as_isolated, "run": as_run, "loop": as_loop}


def drive(case: Case) -> unittest.TestResult:
    """Run one test through a runtime of its own."""
    result = unittest.TestResult()
    with WAYS[case.way](case) as cls:
        cls(case.method).run(result)
    return result


ALL = [case for suite in SUITES for case in collect(suite)]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    out = excluded()
    kinds = {
        "case": [case for case in ALL if case.name not in out],
        "excluded_case": [case for case in ALL if case.name in out],
        "suite": [suite for suite in SUITES if load(suite) is not None],
    }
    for argument in set(kinds) & set(metafunc.fixturenames):
        found = kinds[argument]
        metafunc.parametrize(argument, found, ids=[getattr(c, "name", c) for c in found])


@pytest.fixture(name="drive")
def _drive() -> Callable[[Case], unittest.TestResult]:
    return drive
