"""CPython's own asyncio tests, driven through a runtime: which there are and how each is run.

Those suites run a coroutine in two ways. What takes their place here:

- `isolated`: the runner of an `IsolatedAsyncioTestCase`. Set-up, test, tear-down and clean-ups are
  each a `call`, in the Context of the test.
- `loop`: `asyncio.run(coroutine)`, a `Runner`, or `loop.run_until_complete(coroutine)` on a loop
  that the test makes. The loop it gets is the runtime's, and each of them is a `call`. Between two
  of them that loop stands still, as one of the test's own would.

So every coroutine is a call's eager root task, and the tasks it makes are asyncio's own. A test is
driven if it passes and its method made such a call; every other one stands in `excluded.toml`.
"""

from __future__ import annotations

import asyncio
import contextlib
import fnmatch
import gc
import importlib.util
import inspect
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

SUITES = [
    "test_asyncio.test_base_events",
    "test_asyncio.test_buffered_proto",
    "test_asyncio.test_context",
    "test_asyncio.test_eager_task_factory",
    "test_asyncio.test_futures2",
    "test_asyncio.test_locks",
    "test_asyncio.test_queues",
    "test_asyncio.test_sendfile",
    "test_asyncio.test_server",
    "test_asyncio.test_sock_lowlevel",
    "test_asyncio.test_sslproto",
    "test_asyncio.test_staggered",
    "test_asyncio.test_streams",
    "test_asyncio.test_subprocess",
    "test_asyncio.test_taskgroups",
    "test_asyncio.test_tasks",
    "test_asyncio.test_threads",
    "test_asyncio.test_timeouts",
    "test_asyncio.test_unix_events",
    "test_asyncio.test_waitfor",
    "test_contextlib_async",
]

# Seconds one call of a test may take; none of these tests needs more than three.
DEADLINE = 30.0

RAN_NOTHING = "no coroutine of it went through the runtime"


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
        return "isolated" if issubclass(self.cls, unittest.IsolatedAsyncioTestCase) else "loop"

    @property
    def function(self) -> Any:
        return inspect.unwrap(getattr(self.cls, self.method))

    def is_in(self, row: dict[str, Any]) -> bool:
        """Whether a row of `excluded.toml` leaves it out."""
        return self.is_one_of(row["names"]) and not self.is_one_of(row.get("but", []))

    def is_one_of(self, names: list[str]) -> bool:
        return any(fnmatch.fnmatchcase(self.name, name) for name in names)


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
    """All tests of a suite."""
    module = load(suite)
    found = vars(module).values() if module else ()
    names = unittest.TestLoader().getTestCaseNames
    return [
        Case(suite, cls, name)
        for cls in found
        if isinstance(cls, type)
        and issubclass(cls, unittest.TestCase)
        and cls.__module__ == f"test.{suite}"
        for name in names(cls)
    ]


def rows(table: str) -> list[dict[str, Any]]:
    """The rows of a table that leave out tests on this Python."""
    return [row for row in LISTED[table] if VERSION in row["on"]]


def idle(row: dict[str, Any]) -> list[str]:
    """What a row names in vain."""
    named = [case for case in ALL if case.is_one_of(row["names"])]
    in_vain = [p for p in row["names"] if not any(c.is_in({**row, "names": [p]}) for c in ALL)]
    return in_vain + [p for p in row.get("but", []) if not any(c.is_one_of([p]) for c in named)]


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
            return self.wait(calls, function, *args)
        except gilscope.CallCancelled as error:
            own = error.__cause__
            if own is None:
                raise
        raise own  # what a runner of asyncio's own raises

    def wait(self, calls: Any, function: Callable[..., Any], *args: Any) -> Any:
        return calls.call(function, *args)

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
    """A runtime's loop that a test takes for one of its own: it stands still between two runs."""

    runner: CallRunner
    thread: threading.Thread | None = None
    run_is_over = False
    given_back = False

    def __init__(self) -> None:
        self.goes, self.stands = threading.Event(), threading.Event()
        super().__init__()

    def is_mine(self) -> bool:
        return threading.current_thread() is self.thread

    def end_run(self) -> None:
        self.run_is_over = True

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.run_is_over:
            self.run_is_over = False
            self.goes.clear()
            self.stands.set()
            while not (self.goes.wait(0.1) or self.given_back):
                pass

    def run_until_complete(self, future: Any) -> Any:
        """Call and wait; the first to come here is the runtime, on the loop thread."""
        self.thread = self.thread or threading.current_thread()
        return super().run_until_complete(future) if self.is_mine() else self.runner.run(future)

    def is_running(self) -> bool:
        return not self.stands.is_set() and super().is_running()

    def _check_thread(self) -> None:
        if not self.stands.is_set():
            super()._check_thread()  # type: ignore[misc]

    def close(self) -> None:
        """Only the runtime closes it."""
        if self.is_mine():
            super().close()


class LoopRunner(CallRunner):
    """Runs on a borrowed loop, as the loop itself, `asyncio.run` and an `asyncio.Runner` do."""

    def __init__(self, runtime: gilscope.PyRuntime, deadline: float, loop: BorrowedLoop) -> None:
        super().__init__(runtime, deadline)
        self.loop = loop
        loop.runner = self
        self.run(asyncio.sleep(0))

    def wait(self, calls: Any, function: Callable[..., Any], *args: Any) -> Any:
        self.loop.stands.clear()
        future = calls.submit(function, *args)
        self.loop.goes.set()  # the call is there already when it does
        return future.result()

    def run(self, future: Any, *, context: Context | None = None) -> Any:
        async def run() -> Any:
            try:
                return await future
            finally:
                self.loop.call_soon(self.loop.end_run)  # whom its end wakes still runs

        try:
            return super().run(run(), context=context)
        finally:
            self.loop.stands.wait(self.deadline)

    def get_loop(self) -> asyncio.AbstractEventLoop:
        return self.loop

    def __enter__(self) -> LoopRunner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def as_isolated(case: Case, deadline: float, **options: Any) -> Iterator[tuple[Any, CallRunner]]:
    with gilscope.PyRuntime(**options) as runtime:
        runner = CallRunner(runtime, deadline)
        yield isolated(case.cls, runner), runner


@contextlib.contextmanager
def as_loop(case: Case, deadline: float) -> Iterator[tuple[Any, CallRunner]]:
    loop = BorrowedLoop()
    with gilscope.PyRuntime(loop_factory=lambda: loop) as runtime:
        runner = LoopRunner(runtime, deadline, loop)
        policy, mine = asyncio.DefaultEventLoopPolicy, lambda *_, **__: loop
        with (
            mock.patch.object(policy, "new_event_loop", mine),
            mock.patch("asyncio.SelectorEventLoop", mine),
            mock.patch("test.test_asyncio.utils.TestLoop", mine),
            mock.patch("asyncio.run", runner.run),
            mock.patch("asyncio.Runner", return_value=runner),
        ):
            yield case.cls, runner
        loop.given_back = True  # also if a run of the test's is over only now
        loop.goes.set()


WAYS: dict[str, Any] = {"isolated": as_isolated, "loop": as_loop}


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


@contextlib.contextmanager
def counted(test: Any, runner: CallRunner) -> Iterator[None]:
    """Leave in `runner.calls` those of the test's method: not of what is set up and torn down."""
    call_method, calls = test._callTestMethod, 0

    def call_and_count(method: Callable[..., Any]) -> None:
        nonlocal calls
        before = runner.calls
        try:
            call_method(method)
        finally:
            calls = runner.calls - before

    with mock.patch.object(test, "_callTestMethod", call_and_count):
        yield
    runner.calls = calls


def drive(case: Case, deadline: float = DEADLINE, **options: Any) -> str:
    """Run one test through a runtime of its own; say what went wrong, if anything did."""
    result = unittest.TestResult()
    with litter(), WAYS[case.way](case, deadline, **options) as (cls, runner):
        test = cls(case.method)
        with counted(test, runner):
            unittest.TestSuite([test]).run(result)  # with what its class sets up
        runner.on_loop(None, gc.collect)  # while their loop still runs
    wrong = [*result.errors, *result.failures, *result.skipped]
    wrong += [(test, "passed unexpectedly") for test in result.unexpectedSuccesses]
    if not wrong and not runner.calls:
        return RAN_NOTHING
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
        driven=DRIVEN,
        left_out=[*REPEATED, *EXCLUDED],
        excluded=[case for case in EXCLUDED if case not in UNTRIED],
        not_on_uvloop=NOT_ON_UVLOOP,
        idle=[p for table in ("repeated", "tests", "uvloop") for r in rows(table) for p in idle(r)],
        modules={suite: load(suite) for suite in SUITES},
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
