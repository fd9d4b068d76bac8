"""The ways to call: what must hold for one of them holds for each."""

from __future__ import annotations

import asyncio
import queue
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    import gilscope

LIMIT = 30  # seconds until a call that hangs fails its test


class Way:
    """One way to call. `run` returns what came back: the value or the exception, and which."""

    def __init__(self, rt: gilscope.PyRuntime) -> None:
        self.rt = rt

    def run(self, fun: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        raise NotImplementedError

    def value(self, fun: Callable[..., Any], *args: Any) -> Any:
        """What the call returned; the test fails if it raised."""
        ok, value = self.run(fun, *args)
        assert ok, f"raised {type(value)}"
        return value

    def error(self, fun: Callable[..., Any], *args: Any) -> Any:
        """What the call raised; the test fails if it returned."""
        ok, error = self.run(fun, *args)
        assert not ok, f"returned {type(error)}"
        return error


class Call(Way):
    def run(self, fun: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        try:
            return True, self.rt.options(deadline=LIMIT).call(fun, *args)
        except BaseException as error:
            return False, error


class CallAsync(Way):
    def run(self, fun: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        came: list[tuple[bool, Any]] = []  # not the task's result: asyncio.run calls its repr

        async def main() -> None:
            async with asyncio.timeout(LIMIT):
                try:
                    came.append((True, await self.rt.call_async(fun, *args)))
                except BaseException as error:
                    came.append((False, error))

        asyncio.run(main())
        return came[0]


class Submit(Way):
    def run(self, fun: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        try:
            return True, self.rt.submit(fun, *args).result(LIMIT)
        except BaseException as error:
            return False, error


class SubmitCallback(Way):
    def run(self, fun: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        outcomes: queue.Queue[gilscope.Outcome[Any]] = queue.Queue()
        self.rt.submit_callback(outcomes.put, fun, *args)
        outcome = outcomes.get(timeout=LIMIT)
        return outcome.ok, outcome.result() if outcome.ok else outcome.exception()


class Map(Way):
    def run(self, fun: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        results = self.rt.options(deadline=LIMIT).map(lambda _: fun(*args), [None])
        try:
            return True, next(results)
        except BaseException as error:
            return False, error


class Stream(Way):
    """`fun` is an async function, awaited by an async generator."""

    def run(self, fun: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        came: list[tuple[bool, Any]] = []

        async def items() -> AsyncIterator[Any]:
            yield await fun(*args)

        async def main() -> None:
            try:
                stream = self.rt.options(deadline=LIMIT).stream(items)
                came.extend([(True, item) async for item in stream])
            except BaseException as error:
                came.append((False, error))

        asyncio.run(main())
        return came[0]


class Thread(Way):
    """`fun` is an async function, in a loop of the thread's own."""

    def run(self, fun: Callable[..., Any], *args: Any) -> tuple[bool, Any]:
        def blocks() -> Any:
            return asyncio.run(fun(*args))

        try:
            return True, self.rt.options(deadline=LIMIT, thread=True).call(blocks)
        except BaseException as error:
            return False, error


WAYS: list[type[Way]] = [Call, CallAsync, Submit, SubmitCallback]


@pytest.fixture(params=WAYS, ids=lambda kind: kind.__name__)
def way(request: pytest.FixtureRequest, rt: gilscope.PyRuntime) -> Way:
    """Each way to call, on the test's own runtime."""
    made: Way = request.param(rt)
    return made


@pytest.fixture(params=[*WAYS, Map, Stream, Thread], ids=lambda kind: kind.__name__)
def every_way(request: pytest.FixtureRequest, rt: gilscope.PyRuntime) -> Way:
    """Also those that call on behalf of something else; for async functions."""
    made: Way = request.param(rt)
    return made


@pytest.fixture
def unraisable(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What Python could only report, as (type, object) pairs."""
    seen: list[Any] = []
    monkeypatch.setattr(
        "sys.unraisablehook", lambda told: seen.append((told.exc_type, repr(told.object)))
    )
    return seen


class Source:
    """An async generator function that remembers what became of it."""

    broke = ValueError("the generator broke")

    def __init__(self) -> None:
        self.finished = threading.Event()
        self.given: list[int] = []

    async def __call__(self, n: int, fail_at: int = -1) -> AsyncIterator[int]:
        try:
            for i in range(n):
                await asyncio.sleep(0)
                if i == fail_at:
                    raise self.broke
                self.given.append(i)
                yield i
        finally:
            await asyncio.sleep(0)
            self.finished.set()


@pytest.fixture
def source() -> Source:
    return Source()


# Begins every program that forks.
FORK = """
import asyncio, os, sys, warnings
import gilscope

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork beside threads

async def double(x):
    await gilscope.rust.sleep(0.001)
    return 2 * x

def forked(body):
    "Run `body` in a forked child; fail if it does."
    child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


@pytest.fixture
def forking(script: Callable[..., str]) -> Callable[[str], str]:
    """Run a program, in a process of its own, that calls `forked(body)`; return its output."""
    return lambda code: script(FORK + textwrap.dedent(code))
