"""What a call's coroutine returns, raises and awaits is handled as `asyncio.Task` does.

The `roots` fixture runs coroutine functions as roots on a loop thread: `roots.run(fun, *args)`
returns the outcome, `roots.submit` a `concurrent.futures.Future`; `roots.reported` collects what
the loop's exception handler was given.
"""

from __future__ import annotations

import asyncio
import contextvars
import traceback
from typing import Any

import pytest

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="unset")


def me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


class Odd(BaseException):
    """Derives from BaseException only."""


@pytest.mark.parametrize("value", [None, 7, (), (1, 2), (1, (2,)), ValueError("a value")])
@pytest.mark.parametrize("naps", [0, 1])
def test_task_returns_any_value(roots: Any, value: Any, naps: int) -> None:
    async def body() -> Any:
        for _ in range(naps):
            await asyncio.sleep(0)
        return value

    assert roots.run(body) is value


@pytest.mark.parametrize("naps", [0, 1])
@pytest.mark.parametrize(
    "kind", [ValueError, Odd, GeneratorExit, StopAsyncIteration, MemoryError, RecursionError]
)
def test_e1_e2_e7_e8_e13_errors_are_delivered_whole(roots: Any, naps: int, kind: Any) -> None:
    error = kind("x")

    async def raises_here() -> None:
        for _ in range(naps):
            await asyncio.sleep(0)
        error.add_note("a note")
        raise error

    with pytest.raises(BaseException) as caught:  # noqa: PT011
        roots.run(raises_here)
    assert caught.value is error
    assert error.__notes__ == ["a note"]
    assert "raises_here" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]
    assert roots.reported == []


@pytest.mark.parametrize("naps", [0, 1])
@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_e3_e4_interrupts_end_the_call_and_not_the_loop(roots: Any, kind: Any, naps: int) -> None:
    async def body() -> None:
        for _ in range(naps):
            await asyncio.sleep(0)
        raise kind("stop")

    assert type(roots.submit(body).exception(10)) is kind
    assert roots.reported == []

    async def still() -> str:
        await asyncio.sleep(0)
        return "alive"

    assert roots.run(still) == "alive"


def test_e3_a_child_may_raise_keyboard_interrupt(roots: Any) -> None:
    async def child() -> None:
        raise KeyboardInterrupt

    async def body() -> str:
        try:
            await asyncio.create_task(child())
        except KeyboardInterrupt:
            return "caught"
        return "missed"

    assert roots.run(body) == "caught"


def test_e5_group_with_interrupt_is_delivered_whole(roots: Any) -> None:
    group = BaseExceptionGroup("both", [KeyboardInterrupt(), ValueError()])

    async def body() -> None:
        raise group

    assert roots.submit(body).exception(10) is group


def test_e8_stop_iteration_becomes_runtime_error(roots: Any) -> None:
    async def body() -> None:
        raise StopIteration(3)

    error = roots.submit(body).exception(10)
    assert type(error) is RuntimeError
    assert isinstance(error.__cause__, StopIteration)


def test_e13_recursion_error(roots: Any) -> None:
    async def body() -> None:
        await body()

    assert type(roots.submit(body).exception(10)) is RecursionError

    async def still() -> int:
        return 1

    assert roots.run(still) == 1


def test_e15_shared_exception_gets_no_frames_of_ours(roots: Any) -> None:
    error = ValueError("shared")

    async def body() -> None:
        raise error

    for _ in range(5):
        assert roots.submit(body).exception(10) is error
        names = [frame.name for frame in traceback.extract_tb(error.__traceback__)]
        error.__traceback__ = None
        assert names == ["body"]


def test_implicit_context_of_an_error(roots: Any) -> None:
    async def child() -> None:
        raise KeyError("first")

    async def body() -> None:
        try:
            await asyncio.create_task(child())
        except KeyError:
            raise ValueError("second") from None

    error = roots.submit(body).exception(10)
    assert isinstance(error.__context__, KeyError)


class Yields:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __await__(self) -> Any:
        yield self.value


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (42, "Task got bad yield: 42"),
        ((x for x in ()), "yield was used instead of yield from for generator in task"),
    ],
)
def test_a5_bad_yields(roots: Any, value: Any, message: str) -> None:
    async def body() -> str:
        try:
            await Yields(value)
        except RuntimeError as error:
            return str(error)
        return ""

    assert roots.run(body).startswith(message)


def test_a5_bad_yields_of_futures(roots: Any) -> None:
    async def body() -> list[str]:
        loop = asyncio.get_running_loop()
        other = asyncio.new_event_loop()
        found = []
        for value in (loop.create_future(), other.create_future(), me()):
            try:
                await Yields(value)
            except RuntimeError as error:
                found.append(str(error))
        other.close()
        return found

    plain, foreign, itself = roots.run(body)
    assert plain.startswith("yield was used instead of yield from in task <Task")
    assert "attached to a different loop" in foreign
    assert itself.startswith("Task cannot await on itself: <Task")


def test_a4_future_of_another_loop(roots: Any) -> None:
    other = asyncio.new_event_loop()

    async def body() -> None:
        await other.create_future()

    with pytest.raises(RuntimeError, match="attached to a different loop"):
        roots.run(body)
    other.close()


def test_a6_yielding_none_for_ever_is_cancellable(roots: Any) -> None:
    class Forever:
        def __await__(self) -> Any:
            while True:
                yield None

    async def body() -> None:
        asyncio.get_running_loop().call_later(0.01, me().cancel)
        await Forever()

    with pytest.raises(asyncio.CancelledError):
        roots.run(body)


def test_a_failing_future_is_an_error_not_a_hang(roots: Any) -> None:
    class Broken:
        @property
        def _asyncio_future_blocking(self) -> bool:
            raise ZeroDivisionError("broken")

    async def body() -> None:
        await Yields(Broken())

    with pytest.raises(ZeroDivisionError, match="broken"):
        roots.run(body)


def test_duck_typed_future(roots: Any) -> None:
    class Duck:
        """No get_loop, only what asyncio has always asked for."""

        def __init__(self) -> None:
            self._loop = asyncio.get_running_loop()
            self._asyncio_future_blocking = False

        def add_done_callback(self, call: Any, *, context: Any) -> None:
            self._loop.call_later(0.001, call, self, context=context)

        def result(self) -> str:
            return "quack"

        def __await__(self) -> Any:
            self._asyncio_future_blocking = True
            yield self
            return self.result()

    async def body() -> Any:
        return await Duck()

    assert roots.run(body) == "quack"


def test_two_roots_wait_for_one_future(roots: Any) -> None:
    async def waits(shared: asyncio.Future[int]) -> int:
        return await shared

    async def body() -> Any:
        shared = asyncio.get_running_loop().create_future()
        futures = [asyncio.wrap_future(roots.submit(waits, shared)) for _ in range(3)]
        asyncio.get_running_loop().call_later(0.01, shared.set_result, 4)
        return await asyncio.gather(*futures)

    assert roots.run(body) == [4, 4, 4]


def test_error_of_a_foreign_future_is_thrown_where_it_was_yielded(roots: Any) -> None:
    async def body() -> str:
        future = asyncio.get_running_loop().create_future()
        future._asyncio_future_blocking = True
        asyncio.get_running_loop().call_soon(future.set_exception, ValueError("thrown"))
        try:
            await Yields(future)
        except ValueError as error:
            return str(error)
        return "sent"

    assert roots.run(body) == "thrown"


def test_error_of_a_future_is_thrown_in(roots: Any) -> None:
    async def body() -> str:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_soon(future.set_exception, ValueError("late"))
        try:
            await future
        except ValueError as error:
            await asyncio.sleep(0)
            return str(error)
        return ""

    assert roots.run(body) == "late"


def test_step_is_eager_and_nested_starts_work(roots: Any) -> None:
    order: list[str] = []

    async def inner() -> Any:
        order.append("inner")
        task = me()
        await asyncio.sleep(0)
        return task

    async def outer() -> Any:
        order.append("outer")
        future = roots.submit(inner)
        task = me()
        other = await asyncio.wrap_future(future)
        assert me() is task
        return task is not other

    assert roots.run(outer) is True
    assert order == ["outer", "inner"]
