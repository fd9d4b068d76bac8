"""L12: other ways to run a loop hold the same guarantees.

uvloop, asyncio's debug mode, a loop with an eager task factory, with a custom exception handler,
and asyncio's own loop made by a factory: each test runs on all of them.
"""

from __future__ import annotations

import asyncio
import contextvars
import gc
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
import uvloop

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from .conftest import Bounded


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


def test_l12_the_loop_is_the_one_asked_for(on: Bounded, kind: Kind) -> None:
    async def loop() -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    assert kind.is_in_use(on(loop))


def test_l12_many_calls_return_their_own_results(on: Bounded) -> None:
    async def double(n: int) -> int:
        if n % 3:
            await asyncio.sleep(0 if n % 2 else 0.001)
        return 2 * n

    assert on.each(double, 300) == [2 * n for n in range(300)]


def test_l12_an_immediate_function_returns(on: Bounded) -> None:
    assert on(pow, 2, 10) == 1024


@pytest.mark.parametrize(
    "kind_of_error", [ValueError, KeyboardInterrupt, SystemExit, StopAsyncIteration]
)
def test_l12_errors_are_delivered_as_themselves(
    on: Bounded, kind_of_error: type[BaseException]
) -> None:
    error = kind_of_error("mine")

    async def fails() -> None:
        await asyncio.sleep(0)
        raise error

    with pytest.raises(kind_of_error) as caught:
        on(fails)
    assert caught.value is error
    assert on(asyncio.sleep, 0, "alive") == "alive"


def test_l12_a_child_task_that_interrupts_leaves_the_loop_running(on: Bounded) -> None:
    async def interrupts() -> None:
        raise KeyboardInterrupt

    async def parent() -> str:
        await asyncio.sleep(0)
        try:
            await asyncio.create_task(interrupts())
        except KeyboardInterrupt:
            return "caught"
        raise AssertionError("it was not raised")

    try:
        assert on(parent) == "caught"
    except KeyboardInterrupt:  # an eager factory runs the child inside `create_task`
        raise AssertionError("it went past the parent") from None
    assert on(asyncio.sleep, 0, "alive") == "alive"


def test_l12_a_cancel_reaches_the_coroutine(on: Bounded) -> None:
    started, ended = threading.Event(), threading.Event()

    async def waits() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    future = on.runtime.submit(waits)
    assert started.wait(30)
    assert future.cancel() is True
    with pytest.raises(gilscope.CallCancelled) as caught:
        future.result(timeout=30)
    assert caught.value.by == "caller"
    assert ended.wait(30)


def test_l12_a_swallowed_cancel_gives_the_result(on: Bounded) -> None:
    started = threading.Event()

    async def stubborn() -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await asyncio.sleep(0)
        return "stayed"

    future = on.runtime.submit(stubborn)
    assert started.wait(30)
    future.cancel()
    assert future.result(timeout=30) == "stayed"


def test_l12_a_deadline_frees_the_caller_and_cancels(on: Bounded) -> None:
    ended = threading.Event()

    async def waits() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(gilscope.DeadlineExceeded):
        on.runtime.options(deadline=0.05).call(waits)
    assert ended.wait(30)


def test_l12_timeouts_and_task_groups(on: Bounded) -> None:
    async def body(n: int) -> tuple[str, int]:
        try:
            async with asyncio.timeout(0.01):
                await asyncio.Event().wait()
        except TimeoutError:
            timed_out = "timed out"
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(asyncio.sleep(0, i)) for i in range(n)]
        return timed_out, sum(task.result() for task in tasks)

    assert on.each(body, 20) == [("timed out", sum(range(n))) for n in range(20)]


def test_l12_a_child_sees_itself_and_a_call_sees_itself_again(on: Bounded) -> None:
    async def child() -> asyncio.Task[Any] | None:
        before = asyncio.current_task()
        await asyncio.sleep(0)
        assert asyncio.current_task() is before
        return before

    async def parent(_: int) -> bool:
        me = asyncio.current_task()
        task = asyncio.create_task(child())
        assert asyncio.current_task() is me
        seen = await task
        assert asyncio.current_task() is me
        return seen is not me and seen is not None

    assert all(on.each(parent, 50))


def test_l12_context_variables_are_the_callers_and_stay_apart(on: Bounded) -> None:
    name: contextvars.ContextVar[object] = contextvars.ContextVar("name", default="none")

    async def mark(n: int) -> tuple[object, object]:
        before = name.get()
        name.set(n)
        await asyncio.sleep(0)
        return before, name.get()

    token = name.set("caller")
    try:
        assert on.each(mark, 50) == [("caller", n) for n in range(50)]
        assert name.get() == "caller"
    finally:
        name.reset(token)
    assert on(mark, 1) == ("none", 1)


def test_l12_rust_is_awaited(on: Bounded) -> None:
    async def body(n: int) -> str:
        await gilscope.rust.sleep(0.001 * (n % 3))
        return await gilscope.rust.sha256(b"%d" % (n % 2))

    digests = on.each(body, 60)
    assert len(set(digests)) == 2


def test_l12_rust_is_cancelled(on: Bounded) -> None:
    async def body(_: int) -> str:
        try:
            async with asyncio.timeout(0.01):
                await gilscope.rust.sleep(600)
        except TimeoutError:
            return "timed out"
        return "woke up"

    assert on.each(body, 20) == ["timed out"] * 20


def test_l12_a_loop_awaits_calls_on_another(on: Bounded, kind: Kind) -> None:
    async def double(n: int) -> int:
        await asyncio.sleep(0)
        return 2 * n

    async def elsewhere() -> list[int]:
        return await asyncio.gather(*[on.runtime.call_async(double, n) for n in range(50)])

    with gilscope.PyRuntime(**kind.options) as other:
        assert other.options(deadline=30).call(elsewhere) == [2 * n for n in range(50)]


def test_l12_streams(on: Bounded) -> None:
    closed = threading.Event()

    async def count() -> AsyncIterator[int]:
        try:
            for number in range(1000):
                yield number
                if number % 100 == 0:
                    await asyncio.sleep(0)
        finally:
            await asyncio.sleep(0)
            closed.set()

    async def read(limit: int) -> list[int]:
        stream = on.runtime.stream(count)
        found = []
        async for number in stream:
            found.append(number)
            if len(found) == limit:
                break
        await stream.aclose()  # type: ignore[attr-defined]
        return found

    assert asyncio.run(asyncio.wait_for(read(2000), 30)) == list(range(1000))
    assert closed.wait(30)
    closed.clear()
    assert asyncio.run(asyncio.wait_for(read(5), 30)) == list(range(5))
    assert closed.wait(30)


def test_l12_blocking_functions_run_in_threads(on: Bounded) -> None:
    calls = on.runtime.options(thread=True, deadline=30)
    used = {calls.submit(threading.current_thread).result(timeout=30) for _ in range(5)}
    assert on(threading.current_thread) not in used
    assert threading.current_thread() not in used


def test_l12_sockets_and_subprocesses(on: Bounded) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.readline()).upper())
        await writer.drain()
        writer.close()

    async def over_a_socket() -> bytes:
        async with await asyncio.start_server(echo, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"abc\n")
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
        return answer

    async def from_a_process(n: int) -> tuple[bytes, int | None]:
        process = await asyncio.create_subprocess_exec(
            "sh",
            "-c",
            f"cat; exit {n}",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate(b"abc")
        return out, process.returncode

    assert on(over_a_socket) == b"ABC\n"
    assert on.each(from_a_process, 3) == [(b"abc", n) for n in range(3)]
    on(asyncio.sleep, 0.01)


def test_l12_anyio_runs(on: Bounded) -> None:
    async def body(n: int) -> tuple[bool, int]:
        with anyio.move_on_after(0.01) as scope:
            await anyio.sleep_forever()
        found = []

        async def add(i: int) -> None:
            found.append(await anyio.to_thread.run_sync(abs, -i))

        async with anyio.create_task_group() as group:
            for i in range(n):
                group.start_soon(add, i)
        return scope.cancelled_caught, sum(found)

    assert on.each(body, 10) == [(True, sum(range(n))) for n in range(10)]


def test_l12_stopping_the_loop_ends_nothing(on: Bounded) -> None:
    async def stops() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.001)
        return "went on"

    assert on(stops) == "went on"
    assert on(asyncio.sleep, 0, "alive") == "alive"


@pytest.mark.parametrize("mode", ["drain", "cancel", "abort"])
def test_l12_a_shutdown_gives_every_caller_an_outcome(
    kind: Kind, make: Callable[..., Bounded], mode: Any
) -> None:
    runtime = make(**kind.options).runtime
    started = threading.Semaphore(0)
    release = runtime.call(asyncio.Event)

    async def waits() -> str:
        started.release()
        await release.wait()
        return "ended"

    futures = [runtime.submit(waits) for _ in range(20)]
    for _ in futures:
        assert started.acquire(timeout=30)
    if mode == "drain":
        runtime.submit(release.set)
    assert runtime.shutdown(mode, deadline=20)["joined"]
    outcomes = [future.exception(timeout=30) or future.result() for future in futures]
    if mode == "drain":
        assert outcomes == ["ended"] * 20
    elif mode == "cancel":
        assert [getattr(outcome, "by", outcome) for outcome in outcomes] == ["shutdown"] * 20
    else:
        expected = (gilscope.RuntimeStopped, gilscope.CallCancelled)
        assert all(isinstance(outcome, expected) for outcome in outcomes), outcomes
    with pytest.raises(gilscope.RuntimeStopped):
        runtime.call(waits)


def test_l12_hooks_run_around_the_calls(kind: Kind) -> None:
    steps: list[str] = []

    async def step(name: str) -> None:
        await asyncio.sleep(0)
        steps.append(name)

    with gilscope.PyRuntime(
        on_start=lambda: step("start"), on_stop=lambda: step("stop"), **kind.options
    ) as runtime:
        runtime.options(deadline=30).call(step, "call")
    assert steps == ["start", "call", "stop"]


def test_l12_a_callback_that_raises_goes_to_the_exception_handler(
    kind: Kind, make: Callable[..., Bounded]
) -> None:
    on = make(**kind.options)
    seen: list[dict[str, Any]] = []
    told = threading.Event()

    async def listen() -> None:
        def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            seen.append(context)
            told.set()

        asyncio.get_running_loop().set_exception_handler(note)

    def broken(_: object) -> None:
        raise ValueError("callback")

    on(listen)
    on.runtime.submit_callback(broken, asyncio.sleep, 0)
    assert told.wait(30)
    assert [str(context["exception"]) for context in seen] == ["callback"]
    assert on(asyncio.sleep, 0, "alive") == "alive"


def test_l12_a_task_nobody_awaits_is_reported_to_the_exception_handler(
    kind: Kind, make: Callable[..., Bounded]
) -> None:
    on = make(**kind.options)
    seen: list[dict[str, Any]] = []

    async def fails() -> None:
        raise ValueError("nobody awaits me")

    async def body() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        task = asyncio.create_task(fails())
        await asyncio.sleep(0.001)
        del task
        gc.collect()  # an eager task is part of a cycle

    on(body)
    assert [str(context["exception"]) for context in seen] == ["nobody awaits me"]
