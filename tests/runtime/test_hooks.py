"""The start and stop hooks: what is refused, and what a start hook that raises does."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import inspect
import threading
import traceback
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import ModuleType

ALLOWED = "must be an async function without arguments, or None"


async def hook(*_: object) -> None:
    await asyncio.sleep(0)


def plain() -> None:
    raise AssertionError("called")


def wrapper(fun: Callable[..., Any]) -> Callable[[], Any]:
    @functools.wraps(fun)
    def wrapped() -> Any:
        return fun()

    return wrapped


def in_async(fun: Callable[..., Any]) -> Callable[[], Any]:
    @functools.wraps(fun)
    async def wrapped() -> None:
        assert fun is plain

    return wrapped


async def generator() -> AsyncIterator[int]:
    yield 1


class Hooks:
    async def method(self) -> None:
        await asyncio.sleep(0)

    async def __call__(self) -> None:
        await asyncio.sleep(0)


REFUSED = [plain, print, lambda: hook(), generator, Hooks, 7, "hook"]
TAKEN: list[Callable[..., Any]] = [hook, functools.partial(hook, 1), Hooks(), Hooks().method]
TAKEN += [wrapper(hook)]
TAKEN += [in_async(plain), functools.partial(in_async(plain)), functools.partial(wrapper(hook))]
if mark := getattr(inspect, "markcoroutinefunction", None):  # from Python 3.12 on
    TAKEN.append(mark(functools.wraps(plain)(lambda: hook())))


def refused(kind: str, given: object) -> str:
    return f"{kind} {ALLOWED}, not {given!r} ({type(given).__name__})"


@pytest.mark.parametrize("kind", ["on_start", "on_stop"])
@pytest.mark.parametrize("given", REFUSED)
def test_a_hook_that_is_no_async_function_is_refused(kind: str, given: Any) -> None:
    with pytest.raises(TypeError) as caught:
        gilscope.PyRuntime(**{kind: given})
    assert (type(caught.value), str(caught.value)[:80]) == (TypeError, refused(kind, given)[:80])


@pytest.mark.parametrize("kind", ["on_start", "on_stop"])
def test_a_hook_that_is_no_async_function_is_refused_in_rust(ext: ModuleType, kind: str) -> None:
    with pytest.raises(TypeError) as caught:
        ext.Runtime(**{kind: 7})
    assert str(caught.value) == refused(kind, 7)


def test_a_hook_that_is_no_async_function_is_told_to_the_callers_of_a_thread_without_the_gil(
    ext: ModuleType, unraisable: list[Any]
) -> None:
    runtime = ext.Runtime(on_stop=7, detached=True)
    with pytest.raises(gilscope.RuntimeStopped) as caught:
        ext.call(int, runtime=runtime)
    why = "the runtime is stopped: its loop thread could not start: TypeError: "
    assert str(caught.value) == why + refused("on_stop", 7)
    assert type(caught.value.__cause__) is TypeError
    assert [kind for kind, _ in unraisable] == [TypeError]


@pytest.mark.parametrize("given", TAKEN)
def test_what_is_seen_to_be_async_is_a_hook(given: Any) -> None:
    with gilscope.PyRuntime(on_start=given, on_stop=given) as rt:
        assert rt.call(int) == 0


class Fails:
    """A start hook that raises once it is let."""

    def __init__(self, error: BaseException) -> None:
        self.error = error
        self.release = threading.Event()

    async def __call__(self) -> None:
        assert self.release.wait(30)
        raise self.error


WHY = "the runtime is stopped: its on_start hook raised "


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no database"), "ValueError: no database"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (asyncio.CancelledError(), "asyncio.exceptions.CancelledError"),
    ],
)
def test_l2_callers_are_told_what_the_start_hook_raised(
    unraisable: list[Any], eventually: Any, error: BaseException, text: str
) -> None:
    fails = Fails(error)
    rt = gilscope.PyRuntime(queue_size=2, on_start=fails)
    waiting = [rt.submit(int) for _ in range(4)]  # two in the queue, two that wait for room
    told: list[Any] = []
    rt.submit_callback(told.append, int)
    fails.release.set()
    errors: list[Any] = [future.exception(10) for future in waiting]
    eventually(lambda: rt.is_stopped and told)
    errors += [outcome.exception() for outcome in told]
    ways: list[Callable[[Any], object]] = [
        lambda fun: rt.submit(fun).result(10),
        rt.call,
        lambda fun: asyncio.run(rt.call_async(fun)),
    ]
    for way in ways:
        with pytest.raises(gilscope.RuntimeStopped) as caught:
            way(int)
        errors.append(caught.value)
    assert {type(told) for told in errors} == {gilscope.RuntimeStopped}
    assert {str(told) for told in errors} == {WHY + text}
    assert all(told.__cause__ is error for told in errors)
    names = [entry.name for entry in traceback.extract_tb(error.__traceback__)]
    assert names == ["__call__"]  # its own, and none of the runtime's
    assert rt.shutdown("drain", deadline=10)["joined"]
    assert [kind for kind, _ in unraisable] == [type(error)]


def test_l2_rust_callers_are_told_what_the_start_hook_raised(
    ext: ModuleType, unraisable: list[Any]
) -> None:
    fails = Fails(ValueError("no database"))
    fails.error.__cause__ = OSError("no network")
    runtime = ext.Runtime(on_start=fails)
    sent = ext.send("closure", int, runtime=runtime)
    fails.release.set()
    ((_, error),) = sent.wait()
    assert str(error) == WHY + "ValueError: no database"
    assert error.__cause__ is fails.error
    display, _, sources = ext.told(int, runtime=runtime)
    assert display == WHY + "ValueError: no database"
    assert sources == ["OSError: no network"]
    assert runtime.shutdown("cancel", 10)[2]
    assert [kind for kind, _ in unraisable] == [ValueError]


def test_l16_a_runtime_that_could_not_start_is_let_go_of(
    unraisable: list[Any], eventually: Any
) -> None:
    fails = Fails(ValueError("no database"))
    rt = gilscope.PyRuntime(on_start=fails)
    fails.release.set()
    with pytest.raises(gilscope.RuntimeStopped):
        rt.submit(int).result(10)
    assert rt.shutdown("cancel", deadline=10)["joined"]
    watch = weakref.ref(fails)
    del rt, fails

    def is_gone() -> bool:
        unraisable.clear()  # what the hook raised may be told late, and has its frames
        gc.collect()
        return watch() is None

    eventually(is_gone)


def test_l2_a_shutdown_while_the_start_hook_runs_is_a_shutdown(
    unraisable: list[Any], eventually: Any
) -> None:
    fails = Fails(ValueError("no database"))
    rt = gilscope.PyRuntime(on_start=fails)
    future = rt.submit(int)
    ends = threading.Thread(target=rt.shutdown, args=("cancel",))
    ends.start()
    eventually(lambda: rt.is_stopped)  # taking no more calls
    fails.release.set()
    ends.join(10)
    assert not ends.is_alive()
    assert type(future.exception(10)) is gilscope.RuntimeStopped
    with pytest.raises(gilscope.RuntimeStopped, match="it was shut down"):
        rt.call(int)
    assert [kind for kind, _ in unraisable] == [ValueError]


VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="default")


def cancel_all_others() -> None:
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()


@pytest.mark.parametrize("mode", ["drain", "cancel"])
def test_l1_the_stop_hook_runs_though_the_last_call_cancels_every_task(mode: Any) -> None:
    stopped: list[str] = []
    started = threading.Event()

    async def start() -> None:
        VAR.set("by the start hook")

    async def stop() -> None:
        stopped.append(VAR.get())

    async def last() -> None:
        started.set()
        try:
            while mode == "cancel" or not runtime.is_stopped:  # noqa: ASYNC110 - nobody tells
                await asyncio.sleep(0.01)
        finally:
            cancel_all_others()

    async def replaced() -> None:
        cancel_all_others()
        await asyncio.sleep(0)

    runtime = gilscope.PyRuntime(on_start=start, on_stop=stop)
    runtime.call(replaced)
    runtime.submit(last)
    assert started.wait(30)
    assert runtime.shutdown(mode, deadline=20)["joined"]
    assert stopped == ["by the start hook"]


@pytest.mark.parametrize("turns", range(4))
def test_l1_a_task_that_exits_while_the_root_task_is_replaced_ends_no_runtime(
    rt: gilscope.PyRuntime, turns: int
) -> None:
    def exit_after(turns: int) -> None:
        if turns == 0:
            raise SystemExit
        asyncio.get_running_loop().call_soon(exit_after, turns - 1)

    async def cancel_and_exit() -> str:
        cancel_all_others()
        exit_after(turns + 1)
        await asyncio.sleep(0.05)
        return "went on"

    assert rt.submit(cancel_and_exit).result(30) == "went on"
    assert rt.call(len, "abc") == 3
