"""Garbage collection, switching, and the GIL held by somebody else."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import traceback
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future
    from types import ModuleType

LIMIT = 30


async def echo(x: object) -> object:
    await asyncio.sleep(0)
    return x


async def echo_nothing() -> None:
    await asyncio.sleep(0)


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


@pytest.mark.parametrize("queue_size", [1000, 2], ids=["with_room", "through_a_full_queue"])
@pytest.mark.parametrize("told_by", ["future", "callback"])
def test_l8_garbage_is_collected_inside_an_enqueue(told_by: str, queue_size: int) -> None:
    again: list[Future[object]] = []
    collected_in: set[str] = set()
    told: list[object] = []
    held, free = threading.Event(), threading.Event()

    class Garbage:
        """Is in a cycle, and enqueues a call itself when it is collected."""

        def __init__(self) -> None:
            self.itself = self

        def __del__(self) -> None:
            collected_in.update(frame.name for frame in traceback.extract_stack())
            again.append(rt.submit(echo, "again"))

    class Fun:
        @property
        def func(self) -> object:
            """Asked for while the call is made, for its name: a `partial` is named after it."""
            Garbage()
            gc.collect()
            raise AttributeError

        async def __call__(self, i: int) -> int:
            return i

    def hold() -> None:
        held.set()
        assert free.wait(LIMIT)

    def enqueue() -> None:
        for i in range(50):
            if told_by == "future":
                future = rt.submit(Fun(), i)
                future.add_done_callback(lambda done: told.append(done.result()))
            else:
                rt.submit_callback(lambda outcome: told.append(outcome.result()), Fun(), i)

    with gilscope.PyRuntime("collects", queue_size=queue_size) as rt:
        rt.submit(hold)  # else the loop thread might collect it all
        assert held.wait(LIMIT)
        thread = threading.Thread(target=enqueue, daemon=True)
        before = gc.get_threshold()
        gc.set_threshold(1)
        try:
            thread.start()
            thread.join(LIMIT)
            assert not thread.is_alive(), "a deadlock"
        finally:
            gc.set_threshold(*before)
            free.set()
        assert {"submit" if told_by == "future" else "submit_callback", "func"} <= collected_in
        assert [call.result(LIMIT) for call in again] == ["again"] * 50
        assert rt.call(echo, 1) == 1
    assert told == list(range(50))


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


@pytest.mark.parametrize("own", [False, True])
@pytest.mark.parametrize("awaits_call", [False, True])
def test_l8_a_task_that_awaits_rust_is_held_though_nobody_else_does(
    rt: gilscope.PyRuntime, own: bool, awaits_call: bool
) -> None:
    async def awaits(arrived: asyncio.Event) -> None:
        await (rt.call_async(asyncio.sleep, 0.05) if awaits_call else gilscope.rust.sleep(0.05))
        arrived.set()

    async def main() -> None:
        arrived = asyncio.Event()
        asyncio.create_task(awaits(arrived))  # noqa: RUF006 (nobody is to hold it)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        gc.collect()
        await asyncio.wait_for(arrived.wait(), 30)

    if own:
        with gilscope.PyRuntime("own") as loop_of:
            loop_of.call(main)
    else:
        asyncio.run(main())


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
    assert ticks >= 50  # of about 190; none if the two workers waited for the GIL
    eventually(lambda: len(ran) == 16)


def test_l18_what_needs_no_gil_goes_on_while_another_thread_holds_it(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Callable[..., None]
) -> None:
    async def fails() -> None:
        raise ValueError("told without the GIL")

    rounds = dict(ext.rounds_while_gil_held(echo_nothing, fails, 1.0))
    done = {
        "PyFun",
        "PyHandle",
        "last PyHandle",
        "pending future",
        "cancel",
        "Display",
        "Debug",
        "Error",
        "nothing",
    }
    assert set(rounds) == done
    # Of about 190 each. What waits for the GIL is not done once, and with it at most one of the
    # others on the second worker.
    assert min(rounds.values()) >= 20, rounds
    eventually(lambda: not default_rt.in_flight())
    assert default_rt.call(echo, 1) == 1
