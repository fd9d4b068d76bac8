"""Several runtimes, restarts, idle ones, and other loops than asyncio's default."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from typing import TYPE_CHECKING

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"


async def thread_of_the_loop() -> int:
    await asyncio.sleep(0)
    return threading.get_ident()


def loop_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name.startswith("gilscope")]


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


def test_l11_two_runtimes_are_isolated(rt: gilscope.PyRuntime) -> None:
    with gilscope.PyRuntime("other") as other:
        first, second = rt.call(thread_of_the_loop), other.call(thread_of_the_loop)
        assert first != second
        assert rt.id != other.id
        other.shutdown("abort")
        assert rt.call(thread_of_the_loop) == first


def test_l11_a_runtime_used_inside_the_others_coroutine_and_callback(
    rt: gilscope.PyRuntime,
) -> None:
    with gilscope.PyRuntime("other") as other:
        expected = rt.call(thread_of_the_loop), other.call(thread_of_the_loop)

        async def inside() -> tuple[int, int]:
            theirs = await other.call_async(thread_of_the_loop)
            return await thread_of_the_loop(), theirs

        assert rt.call(inside) == expected
        came: list[object] = []
        done = threading.Event()

        def second(outcome: gilscope.Outcome[int]) -> None:
            came.append((outcome.result(), threading.get_ident()))
            done.set()

        def first(outcome: gilscope.Outcome[int]) -> None:
            came.append((outcome.result(), threading.get_ident()))
            other.submit_callback(second, thread_of_the_loop)

        rt.submit_callback(first, thread_of_the_loop)
        assert done.wait(10)
        assert came == [(ident, ident) for ident in expected]


def test_l16_the_last_handle_ends_the_thread(eventually: Eventually) -> None:
    before = loop_threads()
    rt = gilscope.PyRuntime("short-lived")
    rt.call(thread_of_the_loop)
    assert len(loop_threads()) == len(before) + 1
    del rt
    gc.collect()
    eventually(lambda: loop_threads() == before)


def test_l16_the_last_handle_ends_the_thread_without_a_collection(eventually: Eventually) -> None:
    async def waits_in(rt: gilscope.PyRuntime) -> int:
        return await rt.call_async(thread_of_the_loop)

    def use(rt: gilscope.PyRuntime) -> set[int]:
        named = rt.options(name="named")
        return {
            rt.call(thread_of_the_loop),
            named.call(thread_of_the_loop),
            rt.submit(thread_of_the_loop).result(10),
            *rt.map(lambda _: threading.get_ident(), range(2)),
            asyncio.run(waits_in(rt)),
        }

    before = loop_threads()
    gc.disable()
    try:
        rt = gilscope.PyRuntime("short-lived")
        (ident,) = use(rt)
        assert ident in [thread.ident for thread in loop_threads()]
        calls = rt.options(name="the last")
        del rt
        assert calls.call(thread_of_the_loop) == ident
        del calls
        eventually(lambda: loop_threads() == before)
    finally:
        gc.enable()


def test_l16_a_task_that_awaits_rust_keeps_no_runtime(eventually: Eventually) -> None:
    cancelled: list[int] = []

    async def awaits() -> None:
        try:
            await gilscope.rust.sleep(3600)
        except asyncio.CancelledError:
            cancelled.append(1)
            raise

    async def start() -> None:
        asyncio.create_task(awaits())  # noqa: RUF006 (nobody is to hold it)
        await asyncio.sleep(0)

    before = loop_threads()
    rt = gilscope.PyRuntime("short-lived")
    rt.call(start)
    del rt
    gc.collect()
    eventually(lambda: loop_threads() == before)
    assert cancelled == [1]


def test_l16_the_last_handle_in_rust_ends_the_thread(
    ext: ModuleType, eventually: Eventually
) -> None:
    before = loop_threads()
    runtime = ext.Runtime()
    ident = ext.call(thread_of_the_loop, runtime=runtime)
    assert ident in [thread.ident for thread in loop_threads()]
    del runtime
    eventually(lambda: loop_threads() == before)


def test_l16_an_idle_runtime_uses_no_cpu(rt: gilscope.PyRuntime) -> None:
    async def on_cpu() -> float:
        return time.thread_time()

    rt.call(thread_of_the_loop)
    before = rt.call(on_cpu)
    time.sleep(1)
    assert rt.call(on_cpu) - before < 0.05  # a loop that spins takes most of the second


def test_l17_restart_after_a_shutdown() -> None:
    for _ in range(5):
        with gilscope.PyRuntime("again") as rt:
            assert rt.call(thread_of_the_loop)
        assert rt.is_stopped


def test_l17_the_default_runtime_comes_back(ext: ModuleType) -> None:
    seen = set()
    for _ in range(3):
        rt = gilscope.py_runtime()
        assert gilscope.py_runtime() is rt
        assert ext.runtime_id() == rt.id
        assert ext.call(thread_of_the_loop) == rt.call(thread_of_the_loop)
        seen.add(rt.id)
        assert rt.shutdown("cancel", deadline=10)["joined"]
    assert len(seen) == 3


def test_l15_threads_that_race_for_the_runtime_get_the_same(
    ext: ModuleType, eventually: Eventually
) -> None:
    for _ in range(10):
        gilscope.py_runtime().shutdown("cancel", deadline=10)
        eventually(lambda: not [t for t in loop_threads() if t.name == "gilscope-default"])
        ids = set(ext.race(16))
        assert ids == {gilscope.py_runtime().id}
        ext.call(thread_of_the_loop)
        assert [t.name for t in loop_threads()].count("gilscope-default") == 1
    gilscope.py_runtime().shutdown("cancel", deadline=10)
