"""What user code does to the loop: stop, close, collect, threads, switching."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


async def echo(x: object) -> object:
    await asyncio.sleep(0)
    return x


def test_l1_loop_stop_inside_a_coroutine_is_survived(rt: gilscope.PyRuntime, gate: Any) -> None:
    async def stop() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)
        return "went on"

    before = rt.submit(gate, 1)
    assert gate.started.wait(10)
    assert [rt.call(stop) for _ in range(3)] == ["went on"] * 3
    gate.open()
    assert before.result(10) == (1,)
    assert not rt.is_stopped


def test_l3_loop_close_inside_a_coroutine_is_refused_by_asyncio(
    rt: gilscope.PyRuntime, gate: Any
) -> None:
    async def close() -> None:
        asyncio.get_running_loop().close()

    before = rt.submit(gate, 1)
    assert gate.started.wait(10)
    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        rt.call(close)
    gate.open()
    assert before.result(10) == (1,)


def test_l3_a_loop_that_is_really_closed_gives_runtime_stopped(gate: Any) -> None:
    class Closes(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            try:
                super().run_forever()
            finally:
                if stopped:
                    self.close()

    stopped: list[int] = []

    async def stop() -> None:
        stopped.append(1)
        asyncio.get_running_loop().stop()

    with gilscope.PyRuntime("closes", loop_factory=Closes) as rt:
        running, stopping = rt.submit(gate), rt.submit(stop)
        with pytest.raises(gilscope.RuntimeStopped, match="closed"):
            running.result(10)
        stopping.exception(10)
        with pytest.raises(gilscope.RuntimeStopped, match="closed"):
            rt.call(echo, 1)


def test_l8_garbage_collection_during_poll_enqueue_and_callback(rt: gilscope.PyRuntime) -> None:
    outcomes: list[object] = []
    done = threading.Event()

    class Collects:
        """Collects garbage when it is collected itself, in a cycle with the callback."""

        def __del__(self) -> None:
            gc.collect()

    async def polls(x: object) -> object:
        gc.collect()
        await asyncio.sleep(0)
        gc.collect()
        return x

    def callback(outcome: gilscope.Outcome[object], *, cycle: list[object]) -> None:
        gc.collect()
        outcomes.append(outcome.result())
        if len(outcomes) == 8:
            done.set()

    for i in range(8):
        cycle: list[object] = [Collects()]
        bound = lambda outcome, cycle=cycle: callback(outcome, cycle=cycle)  # noqa: E731
        cycle.append(bound)
        rt.submit_callback(bound, polls, i)
        gc.collect()
    del cycle, bound
    assert done.wait(60)
    assert sorted(outcomes) == list(range(8))  # type: ignore[type-var]


@pytest.mark.parametrize("frozen", [False, True])
def test_l8_a_running_call_is_held_though_nobody_else_does(
    rt: gilscope.PyRuntime, gate: Any, frozen: bool
) -> None:
    arrived: list[object] = []
    done = threading.Event()

    async def waits() -> int:
        await gate()
        return 1

    def callback(outcome: gilscope.Outcome[int]) -> None:
        arrived.append(outcome.result())
        done.set()

    rt.submit_callback(callback, waits)
    assert gate.started.wait(10)
    gone = weakref.ref(waits)
    del waits, callback
    if frozen:
        gc.freeze()
    try:
        for _ in range(3):
            gc.collect()
        assert gone() is not None
        gate.open()
        assert done.wait(10)
    finally:
        gc.unfreeze()
    assert arrived == [1]


def test_l10_a_tiny_switch_interval(rt: gilscope.PyRuntime) -> None:
    def many(start: int) -> None:
        results[start] = [rt.call(echo, i) for i in range(start, start + 100)]

    results: dict[int, list[object]] = {}
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        threads = [threading.Thread(target=many, args=(n * 100,)) for n in range(4)]
        for thread in threads:
            thread.start()
        futures = [rt.submit(echo, i) for i in range(500)]
        assert [future.result(30) for future in futures] == list(range(500))
        for thread in threads:
            thread.join(30)
    finally:
        sys.setswitchinterval(before)
    assert results == {n: list(range(n, n + 100)) for n in (0, 100, 200, 300)}


def test_l18_tokio_runs_while_another_thread_holds_the_gil(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Callable[..., None]
) -> None:
    ran: list[int] = []
    ticks = ext.ticks_while_gil_held(ran.append, 1.0, 16)
    assert ticks >= 20  # of about 190; none if the two workers waited for the GIL
    eventually(lambda: len(ran) == 16)
