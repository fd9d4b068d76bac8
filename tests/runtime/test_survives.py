"""What ends a loop, or a call, and what comes after it."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest
from anyio import to_thread

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


async def echo(value: object = None) -> object:
    await asyncio.sleep(0)
    return value


def test_l12_a_loop_factory_that_raises_frees_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    def factory() -> asyncio.AbstractEventLoop:
        raise ZeroDivisionError

    runtime = gilscope.PyRuntime(loop_factory=factory)
    with pytest.raises(gilscope.RuntimeStopped):
        runtime.submit(echo).result(10)
    assert runtime.is_stopped
    assert runtime.shutdown("cancel", deadline=10)["joined"]
    assert [args.exc_type for args in reported] == [ZeroDivisionError]


def test_l12_a_loop_factory_that_returns_no_loop_of_its_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reported: list[Any] = []
    monkeypatch.setattr(threading, "excepthook", reported.append)

    async def with_a_running_loop() -> None:
        running = asyncio.get_running_loop()
        for factory in (lambda: 3, lambda: running):
            runtime = gilscope.PyRuntime(loop_factory=factory)  # type: ignore[arg-type]
            with pytest.raises(gilscope.RuntimeStopped):
                await asyncio.to_thread(runtime.submit(echo).result, 10)
            assert runtime.is_stopped
            assert runtime.shutdown("cancel", deadline=10)["joined"]
        await asyncio.sleep(0)  # the other loop still runs

    asyncio.run(with_a_running_loop())
    assert [str(args.exc_value).split(";")[0] for args in reported] == [
        "loop_factory must return an event loop, not 3 (int)",
        "loop_factory must return a loop of its own",
    ]


def test_a_thread_for_blocking_functions_takes_no_coroutine_function(
    rt: gilscope.PyRuntime,
) -> None:
    with pytest.raises(TypeError, match=r"^thread=True is for blocking functions; <function echo"):
        rt.options(thread=True).call(echo)


def test_l17_a_default_runtime_whose_loop_was_closed_comes_back(
    script: Callable[..., str],
) -> None:
    code = """
        import asyncio, gc, gilscope
        async def close():
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.stop)
            loop.run_until_complete = lambda task: loop.close()  # the next entry finds it closed
            await asyncio.sleep(60)
        async def two():
            return 2
        rt = gilscope.py_runtime()
        try:
            rt.call(close)
        except gilscope.RuntimeStopped as error:
            print(error)
        print(gilscope.py_runtime().id != rt.id, gilscope.py_runtime().call(two))
        gc.collect()  # its caller was told, so the task goes without a word
    """
    printed = script(code).splitlines()
    assert printed == ["the runtime is stopped: its event loop was closed", "True 2"]


def test_l1_cancelling_every_task_ends_no_runtime(rt: gilscope.PyRuntime) -> None:
    async def cancel_all() -> int:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.sleep(0.01)
        return len(others)

    assert rt.call(cancel_all) >= 1
    assert rt.call(echo, 3) == 3
    assert not rt.is_stopped


def test_l1_who_cancels_every_task_may_wait_for_them(rt: gilscope.PyRuntime) -> None:
    async def cancel_all() -> list[str]:  # as asyncio.run does in the end
        others = list(asyncio.all_tasks() - {asyncio.current_task()})
        for task in others:
            task.cancel()
        ended = await asyncio.gather(*others, return_exceptions=True)
        return [type(end).__name__ for end in ended]

    for _ in range(3):
        assert rt.submit(cancel_all).result(30) == ["CancelledError"]
        assert rt.call(echo, 3) == 3
        assert rt.call(to_thread.run_sync, len, "abc") == 3  # anyio looks for the root task
    assert not rt.is_stopped


def test_x5_a_late_cancel_hits_nobody_else(ext: ModuleType, default_rt: gilscope.PyRuntime) -> None:
    async def short() -> None:
        await asyncio.sleep(0.05)

    async def victim() -> None:
        await asyncio.sleep(0.5)

    assert ext.late_cancel(short, victim) == "returned"
