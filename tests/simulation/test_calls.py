"""Calls in a simulation end as they do on a runtime's own thread."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope
from gilscope.simulation import simulate

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("VARIABLE", default="unset")
SEEDS = range(15)


async def forever() -> None:
    await asyncio.Event().wait()


def test_t1_values_errors_and_immediate_results() -> None:
    async def double(value: int) -> int:
        await asyncio.sleep(0)
        return 2 * value

    async def fail() -> None:
        raise LookupError("callee")

    def fail_at_once() -> None:
        raise ValueError("before any await")

    async def main() -> list[object]:
        rt = gilscope.py_runtime()
        results = await asyncio.gather(
            rt.call_async(double, 4),
            rt.call_async(fail),
            rt.call_async(fail_at_once),
            rt.call_async(lambda: "immediate"),
            return_exceptions=True,
        )
        return [*map(repr, results)]

    for seed in SEEDS:
        result = simulate(main, seed=seed)
        assert result.outside == {}
        assert result.value() == [
            "8",
            "LookupError('callee')",
            "ValueError('before any await')",
            "'immediate'",
        ]


def test_t1_a_call_runs_as_a_task_of_the_simulated_loop() -> None:
    async def who() -> tuple[object, bool]:
        task = asyncio.current_task()
        async with asyncio.timeout(1):
            await asyncio.sleep(0.5)
        return asyncio.get_running_loop(), task in asyncio.all_tasks()

    async def main() -> None:
        loop, known = await gilscope.py_runtime().call_async(who)
        assert loop is asyncio.get_running_loop()
        assert known

    assert simulate(main, seed=1).error is None


def test_t1_cancel_by_the_caller_runs_the_finally() -> None:
    async def main() -> list[str]:
        ended: list[str] = []

        async def callee() -> None:
            try:
                await forever()
            finally:
                await gilscope.rust.sleep(1)
                ended.append("cleaned up")

        task = asyncio.ensure_future(gilscope.py_runtime().call_async(callee))
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert asyncio.get_running_loop().time() == 2.0
        return ended

    for seed in SEEDS:
        assert simulate(main, seed=seed).value() == ["cleaned up"]


def test_t1_a_cancel_meets_its_call_queued_or_running() -> None:
    async def main() -> tuple[bool, str]:
        started = False

        async def callee() -> None:
            nonlocal started
            started = True
            await forever()

        future = gilscope.py_runtime().submit(callee)
        await asyncio.sleep(0)
        assert future.cancel()
        with pytest.raises(gilscope.CallCancelled) as raised:
            await asyncio.wrap_future(future)
        return started, raised.value.by

    seen = {simulate(main, seed=seed).value() for seed in range(40)}
    assert seen == {(False, "caller"), (True, "caller")}


def test_t1_the_callee_s_own_cancel_is_told_apart() -> None:
    async def callee() -> None:
        raise asyncio.CancelledError

    async def main() -> str:
        with pytest.raises(gilscope.CallCancelled) as raised:
            await gilscope.py_runtime().call_async(callee)
        return raised.value.by

    assert simulate(main).value() == "callee"


def test_t1_a_deadline_frees_the_caller_and_cancels_the_callee() -> None:
    async def main() -> list[object]:
        log: list[object] = []
        loop = asyncio.get_running_loop()

        async def callee() -> None:
            try:
                await forever()
            except asyncio.CancelledError:
                log.append(("cancelled", loop.time()))
                raise

        future = gilscope.py_runtime().options(deadline=7).submit(callee)
        with pytest.raises(gilscope.DeadlineExceeded):
            await asyncio.wrap_future(future)
        log.append(("freed", loop.time()))
        await asyncio.sleep(1)
        return sorted(log, key=str)

    for seed in SEEDS:
        result = simulate(main, seed=seed)
        assert result.value() == [("cancelled", 7.0), ("freed", 7.0)]
        assert result.outside == {}


def test_t1_the_caller_s_context_and_a_given_one() -> None:
    async def read() -> str:
        await asyncio.sleep(0)
        return VARIABLE.get()

    async def main() -> list[str]:
        rt = gilscope.py_runtime()
        given = contextvars.Context()
        given.run(VARIABLE.set, "given")
        VARIABLE.set("caller")
        return [await rt.call_async(read), await rt.options(context=given).call_async(read)]

    assert simulate(main, seed=2).value() == ["caller", "given"]


def test_t1_a_stream_delivers_all_its_items() -> None:
    async def items(count: int) -> AsyncIterator[int]:
        for number in range(count):
            await asyncio.sleep(0.1)
            yield number

    async def main() -> list[int]:
        stream = gilscope.py_runtime().stream(items, 20)  # type: ignore[arg-type]
        return [item async for item in stream]

    for seed in SEEDS:
        result = simulate(main, seed=seed)
        assert result.value() == list(range(20))
        assert result.outside == {}


def test_t1_blocking_on_the_simulated_thread_is_refused() -> None:
    async def main() -> None:
        gilscope.py_runtime().call(forever)

    assert isinstance(simulate(main).error, gilscope.WrongThread)


def test_t1_another_library_calls_through_the_same_simulation(ext: ModuleType) -> None:
    async def main() -> tuple[bool, list[str]]:
        threads: list[str] = []

        async def callee() -> None:
            threads.append(threading.current_thread().name)
            await ext.host_sleep(3600)

        ext.host_spawn(callee)
        await gilscope.rust.sleep(1)
        same = ext.runtime_id() == gilscope.py_runtime().id
        await asyncio.sleep(3600)
        return same, threads

    result = simulate(main, seed=5)
    assert result.value() == (True, [threading.current_thread().name])
    assert (result.now, result.outside) == (3601.0, {})


def test_t1_a_panic_in_a_rust_task_is_counted(ext: ModuleType, capfd: Any) -> None:
    async def main() -> None:
        ext.spawn_panic(0.5)
        await asyncio.sleep(1)

    result = simulate(main)
    assert (result.error, result.panics) == (None, 1)
    assert [step.what for step in result.trace if "panicked" in step.what] == ["task 1 panicked"]
    assert "boom in a simulated task" in capfd.readouterr().err
