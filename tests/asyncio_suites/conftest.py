"""CPython's own asyncio tests, driven through a runtime: which there are and how each is run.

Those suites run a coroutine in three ways. What takes their place here:

- `isolated`: the runner of an `IsolatedAsyncioTestCase`. Set-up, test, tear-down and clean-ups are
  each a `call`, in the Context of the test.
- `run`: `asyncio.run(coroutine)`. It is a `call` while the test runs.
- `loop`: `loop.run_until_complete(coroutine)` on a loop that the test makes. The loop it gets is
  the runtime's, and `run_until_complete` is a `call`.

So every coroutine is a call's eager root task, and the tasks it makes are asyncio's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import gc
import importlib.util
import inspect
import re
import sys
import threading
import tomllib
import unittest
import warnings
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextvars import Context

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
LISTED = tomllib.loads(Path(__file__).with_name("excluded.toml").read_text())

# How the suite runs the coroutines of classes that are no IsolatedAsyncioTestCase.
SUITES = {
    "test_asyncio.test_base_events": "loop",
    "test_asyncio.test_buffered_proto": "loop",
    "test_asyncio.test_eager_task_factory": "loop",
    "test_asyncio.test_futures2": "isolated",
    "test_asyncio.test_locks": "isolated",
    "test_asyncio.test_queues": "isolated",
    "test_asyncio.test_sendfile": "loop",
    "test_asyncio.test_server": "isolated",
    "test_asyncio.test_sock_lowlevel": "loop",
    "test_asyncio.test_sslproto": "loop",
    "test_asyncio.test_staggered": "isolated",
    "test_asyncio.test_streams": "loop",
    "test_asyncio.test_subprocess": "loop",
    "test_asyncio.test_taskgroups": "isolated",
    "test_asyncio.test_tasks": "loop",
    "test_asyncio.test_threads": "isolated",
    "test_asyncio.test_timeouts": "isolated",
    "test_asyncio.test_unix_events": "isolated",
    "test_asyncio.test_waitfor": "isolated",
    "test_contextlib_async": "run",
}

# Seconds one call of a test may take; none of these tests needs more than three.
DEADLINE = 30.0


@dataclass(frozen=True, slots=True)
class Case:
    """A test of CPython's."""

    suite: str
    cls: type[unittest.TestCase]
    method: str

    @property
    def name(self) -> str:
        return f"{self.suite}.{self.cls.__name__}.{self.method}"

    @property
    def way(self) -> str:
        is_isolated = issubclass(self.cls, unittest.IsolatedAsyncioTestCase)
        return "isolated" if is_isolated else SUITES[self.suite]

    @property
    def function(self) -> Any:
        return inspect.unwrap(getattr(self.cls, self.method))

    def runs_coroutines(self) -> bool:
        """Whether there is anything to drive; some tests only look at an object."""
        if self.way == "loop":
            source = inspect.getsource(self.function)
            return bool(re.search(r"\brun_(until_complete|coro|loop)\(", source))
        return inspect.iscoroutinefunction(self.function)

    def is_in(self, row: dict[str, Any]) -> bool:
        """Whether a row of `excluded.toml` leaves it out."""
        if not any(fnmatch.fnmatchcase(self.name, name) for name in row["names"]):
            return False
        return "unless" not in row or row["unless"] not in inspect.getsource(self.function)


HAS_TESTS = all(importlib.util.find_spec(name) for name in ("test", "test.test_asyncio"))
if not HAS_TESTS:  # some distributions leave it out; the header of the run says so
    collect_ignore = ["test_suites.py"]


def load(suite: str) -> Any:
    """Import a suite, or None where this Python has none of that name."""
    if not HAS_TESTS or importlib.util.find_spec(f"test.{suite}") is None:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"test.{suite}")


def collect(suite: str) -> list[Case]:
    """The tests of a suite that run coroutines."""
    module = load(suite)
    found = vars(module).values() if module else ()
    names = unittest.TestLoader().getTestCaseNames
    cases = [
        Case(suite, cls, name)
        for cls in found
        if isinstance(cls, type)
        and issubclass(cls, unittest.TestCase)
        and cls.__module__ == f"test.{suite}"
        for name in names(cls)
    ]
    return [case for case in cases if case.runs_coroutines()]


def rows(table: str) -> list[dict[str, Any]]:
    """The rows of a table that leave out tests on this Python."""
    return [row for row in LISTED[table] if VERSION in row["on"]]


def patterns(table: str) -> list[str]:
    """The tests that a table leaves out on this Python; `*` stands for any part of a name."""
    return [pattern for row in rows(table) for pattern in row["names"]]


def split(cases: list[Case], table: str) -> tuple[list[Case], list[Case]]:
    """The cases to drive, and those that a table leaves out."""
    out = {case for case in cases if any(case.is_in(row) for row in rows(table))}
    return [case for case in cases if case not in out], [case for case in cases if case in out]


ALL = [case for suite in SUITES for case in collect(suite)]
ONCE, REPEATED = split(ALL, "repeated")
DRIVEN, EXCLUDED = split(ONCE, "tests")
# Those of which trying once says nothing.
UNTRIED = {c for c in EXCLUDED for row in rows("tests") if "untried" in row and c.is_in(row)}
# Those whose runtime may be of any kind.
ISOLATED = [case for case in DRIVEN if case.way == "isolated"]
ON_UVLOOP, NOT_ON_UVLOOP = split(ISOLATED, "uvloop")


class CallRunner:
    """In the place of an `asyncio.Runner`: each `run` is a call. Counts them."""

    def __init__(self, runtime: gilscope.PyRuntime, deadline: float) -> None:
        self.runtime = runtime
        self.deadline = deadline
        self.calls = 0

    def on_loop(self, context: Context | None, function: Callable[..., Any], *args: Any) -> Any:
        calls = self.runtime.options(context=context, deadline=self.deadline)
        try:
            return calls.call(function, *args)
        except gilscope.CallCancelled as error:
            own = error.__cause__
            if own is None:
                raise
        raise own  # what a runner of asyncio's own raises

    def run(self, coroutine: Any, *, context: Context | None = None) -> Any:
        self.calls += 1
        return self.on_loop(context, lambda: coroutine)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self.runtime.call(asyncio.get_running_loop)

    def close(self) -> None:
        """Leave the runtime to whoever made it."""


def isolated(cls: type[Any], runner: CallRunner) -> type[unittest.TestCase]:
    """`cls` with every step of its tests, plain functions too, run on the loop thread."""

    class Driven(cls):  # type: ignore[misc]
        def _setupAsyncioRunner(self) -> None:
            self._asyncioRunner = runner

        def _callMaybeAsync(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
            if inspect.iscoroutinefunction(function):
                runner.calls += 1
            step = lambda: function(*args, **kwargs)  # noqa: E731
            return runner.on_loop(self._asyncioTestContext, step)

        _callAsync = _callMaybeAsync

        def _callSetUp(self) -> None:
            self._callMaybeAsync(self.setUp)
            self._callMaybeAsync(self.asyncSetUp)

        def _callTearDown(self) -> None:
            self._callMaybeAsync(self.asyncTearDown)
            self._callMaybeAsync(self.tearDown)

    Driven.__name__, Driven.__qualname__ = cls.__name__, cls.__qualname__
    return Driven


class BorrowedLoop(asyncio.SelectorEventLoop):
    """A runtime's loop that a test takes for one of its own."""

    runner: CallRunner
    thread: threading.Thread | None = None

    def run_until_complete(self, future: Any) -> Any:
        """Call and wait; the first to come here is the runtime, on the loop thread."""
        self.thread = self.thread or threading.current_thread()
        if threading.current_thread() is self.thread:
            return super().run_until_complete(future)
        return self.runner.run(future)

    def close(self) -> None:
        """Only the runtime closes it."""
        if threading.current_thread() is self.thread:
            super().close()


@contextlib.contextmanager
def as_isolated(case: Case, deadline: float, **options: Any) -> Iterator[tuple[Any, CallRunner]]:
    with gilscope.PyRuntime(**options) as runtime:
        runner = CallRunner(runtime, deadline)
        yield isolated(case.cls, runner), runner


@contextlib.contextmanager
def as_run(case: Case, deadline: float) -> Iterator[tuple[Any, CallRunner]]:
    with gilscope.PyRuntime() as runtime:
        runner = CallRunner(runtime, deadline)
        with mock.patch("asyncio.run", runner.run):
            yield case.cls, runner


@contextlib.contextmanager
def as_loop(case: Case, deadline: float) -> Iterator[tuple[Any, CallRunner]]:
    loop = BorrowedLoop()
    with gilscope.PyRuntime(loop_factory=lambda: loop) as runtime:
        loop.runner = CallRunner(runtime, deadline)
        loop.runner.get_loop()
        policy, mine = asyncio.DefaultEventLoopPolicy, lambda *_: loop
        with (
            mock.patch.object(policy, "new_event_loop", mine),
            mock.patch("asyncio.SelectorEventLoop", mine),
        ):
            yield case.cls, loop.runner


WAYS: dict[str, Any] = {"isolated": as_isolated, "run": as_run, "loop": as_loop}


@contextlib.contextmanager
def litter() -> Iterator[None]:
    """Some tests leave transports to the garbage collector: it is to find them here.

    Not in a test of somebody else's; and what asyncio's own finalizers then say is not ours.
    """
    before = sys.unraisablehook

    def hook(unraisable: Any) -> None:
        if not str(getattr(unraisable.object, "__module__", "")).startswith("asyncio."):
            before(unraisable)

    with warnings.catch_warnings(), mock.patch("sys.unraisablehook", hook):
        warnings.simplefilter("ignore", ResourceWarning)
        yield
        gc.collect()


def drive(case: Case, deadline: float = DEADLINE, **options: Any) -> str:
    """Run one test through a runtime of its own; say what went wrong, if anything did."""
    result = unittest.TestResult()
    with litter(), WAYS[case.way](case, deadline, **options) as (cls, runner):
        unittest.TestSuite([cls(case.method)]).run(result)  # with what its class sets up
        runner.on_loop(None, gc.collect)  # while their loop still runs
    wrong = [*result.errors, *result.failures, *result.skipped]
    wrong += [(test, "passed unexpectedly") for test in result.unexpectedSuccesses]
    if not wrong and not runner.calls:
        return "no coroutine of it went through the runtime"
    return "\n".join(text for _, text in wrong)


def pytest_report_collectionfinish() -> str:
    if not HAS_TESTS:
        return "CPython's asyncio tests: not run, this Python comes without its `test` package"
    counts = f"{len(DRIVEN)} driven, {len(EXCLUDED)} excluded, {len(REPEATED)} repeat others"
    again = f"{len(ISOLATED)} in debug mode and {len(ON_UVLOOP)} on uvloop again"
    return f"CPython's asyncio tests on {VERSION}: {counts}; {again}"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    kinds = {"case": DRIVEN, "isolated_case": ISOLATED, "uvloop_case": ON_UVLOOP}
    for argument in kinds.keys() & set(metafunc.fixturenames):
        cases = kinds[argument]
        metafunc.parametrize(argument, cases, ids=[case.name for case in cases])


@pytest.fixture(scope="session")
def suites() -> SimpleNamespace:
    """What of this file the tests use."""
    return SimpleNamespace(
        drive=drive,
        all=ALL,
        driven=DRIVEN,
        excluded=[case for case in EXCLUDED if case not in UNTRIED],
        not_on_uvloop=NOT_ON_UVLOOP,
        patterns=[p for table in ("repeated", "tests", "uvloop") for p in patterns(table)],
        names=SUITES,
        listed=LISTED,
        version=VERSION,
    )


@pytest.fixture(scope="package", autouse=True)
def _frozen() -> Iterator[None]:
    """Take what pytest holds out of the garbage collections that come after each test."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
