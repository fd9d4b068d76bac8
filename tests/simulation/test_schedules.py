"""The chooser decides, and nothing else does: equal choices give equal traces, anywhere."""

from __future__ import annotations

import asyncio
import itertools
import sys
from typing import TYPE_CHECKING, Any

import pytest

import gilscope
from gilscope.simulation import Simulated, simulate

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


async def work(number: int) -> int:
    await asyncio.sleep(0.001 * number)
    await gilscope.rust.sleep(0.002)
    return number


async def failing() -> None:
    await asyncio.sleep(0)
    raise ValueError("as it should")


async def forever() -> None:
    await asyncio.Event().wait()


async def scenario() -> list[object]:
    """Calls, Rust sleeps, a cancel and a timeout, all at once."""
    rt = gilscope.py_runtime()
    log: list[object] = []

    async def calls(name: str) -> None:
        for number in range(3):
            log.append((name, await rt.call_async(work, number)))

    async def cancelled() -> None:
        task = asyncio.ensure_future(rt.call_async(forever))
        await gilscope.rust.sleep(0.003)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            log.append("cancelled")

    async def timed_out() -> None:
        try:
            await asyncio.wait_for(gilscope.rust.sleep(20), 0.004)
        except TimeoutError:
            log.append("timed out")

    async def failed() -> None:
        try:
            await rt.call_async(failing)
        except ValueError:
            log.append("failed")

    async with asyncio.TaskGroup() as group:
        for coroutine in (calls("a"), calls("b"), cancelled(), timed_out(), failed()):
            group.create_task(coroutine)
    return log


def test_t1_500_schedules_each_run_twice_are_identical() -> None:
    traces = set()
    for seed in range(500):
        first, second = simulate(scenario, seed=seed), simulate(scenario, seed=seed)
        assert first.outside == {}
        assert first == second, f"seed {seed}"
        done = first.value()
        assert len(done) == 9
        assert {"cancelled", "timed out", "failed"} < set(done)
        for name in "ab":
            assert [entry for entry in done if entry[0] == name] == [(name, n) for n in range(3)]
        traces.add(first.digest)
    assert len(traces) > 50


def test_t1_choices_replay_a_schedule() -> None:
    original = simulate(scenario, seed=11)
    again = simulate(scenario, choose=original.choices)
    assert again == original
    assert any(original.choices)


def test_t1_without_a_chooser_the_order_is_asyncio_s() -> None:
    async def main() -> list[int]:
        order: list[int] = []

        async def worker(number: int) -> None:
            for _ in range(3):
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*(worker(number) for number in range(5)))
        return order

    assert simulate(main).value() == asyncio.run(main()) == [0, 1, 2, 3, 4] * 3


def test_t1_a_task_s_own_order_is_kept() -> None:
    async def main() -> list[int]:
        ready = asyncio.Event()
        order: list[int] = []
        loop = asyncio.get_running_loop()
        for number in range(5):
            loop.call_soon(order.append, number)
        loop.call_soon(ready.set)
        await ready.wait()
        return order

    for seed in range(20):
        assert simulate(main, seed=seed).value() == list(range(5))


def test_o1_calls_of_one_caller_start_in_their_order() -> None:
    async def main() -> list[int]:
        started: list[int] = []
        rt = gilscope.py_runtime()
        futures = [rt.submit(started.append, number) for number in range(8)]
        await asyncio.gather(*map(asyncio.wrap_future, futures))
        return started

    for seed in range(30):
        assert simulate(main, seed=seed).value() == list(range(8))


def test_t1_the_chooser_sees_every_lane_and_its_mistakes_are_told() -> None:
    seen: set[str] = set()

    def last(lanes: Any) -> int:
        seen.update(lane.name for lane in lanes)
        return len(lanes) - 1

    assert "cancelled" in simulate(scenario, choose=last).value()
    assert {"calls of python", "task 1", "posts of task 1"} < seen
    assert any(name.startswith("py ") and name.endswith("calls") for name in seen)
    with pytest.raises(IndexError, match="chose 99 of"):
        simulate(scenario, choose=lambda lanes: 99)


def test_t1_what_the_chooser_raises_is_raised() -> None:
    class StopTestError(BaseException):
        pass

    async def fail() -> None:
        await scenario()
        raise LookupError

    def stop_at(limit: int) -> Callable[[Any], int]:
        picks = itertools.count()

        def choose(lanes: object) -> int:
            if next(picks) == limit:
                raise StopTestError
            return 0

        return choose

    for main in (scenario, fail):
        for limit in range(len(simulate(main).choices)):
            with pytest.raises(StopTestError):
                simulate(main, choose=stop_at(limit))
        assert isinstance(simulate(main).error, LookupError | None)


PROGRAM = """
    import asyncio, random, sys
    import gilscope
    from gilscope.simulation import simulate
    import gilscope_test_ext as ext

    async def add(x, y):
        await asyncio.sleep(0.001 * y)
        return x + y

    async def main():
        rt = gilscope.py_runtime()
        calls = {asyncio.ensure_future(rt.call_async(add, 1, n)) for n in range(4)}
        sleeps = {asyncio.ensure_future(ext.host_sleep(0.002)) for _ in range(4)}
        while calls:
            done, calls = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                print(task.get_name(), task.result())
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(6):
                    group.create_task(rt.call_async(asyncio.sleep, 5))
                await asyncio.wait(sleeps)
                raise KeyError
        except* KeyError:
            pass

    junk = [object() for _ in range(int(sys.argv[1]))]  # other addresses, so other hashes
    for seed in range(10):
        result = simulate(main, seed=seed)
        print(result.digest, result.now, result.outside)
        result.value()
"""


def test_t1_a_seed_gives_the_same_trace_in_every_process(script: Callable[..., str]) -> None:
    first, second = script(PROGRAM, 0), script(PROGRAM, 12_345)
    assert first == second
    digests = {line for line in first.splitlines() if line.endswith("{}")}
    assert len(digests) > 5


def test_t1_a_lost_update_between_rust_and_python_is_found_and_replayed(ext: ModuleType) -> None:
    assert ext.found

    async def main() -> int:
        box = [0]

        async def get() -> int:
            return box[0]

        async def put(value: int) -> int:
            box[0] = value
            return value

        async def python_bump() -> None:
            await asyncio.sleep(0.005)
            value = await get()
            await asyncio.sleep(0)
            await put(value + 1)

        await asyncio.gather(ext.racy_bump(get, put, 0.005), python_bump())
        return box[0]

    runs: dict[int, Simulated[int]] = {seed: simulate(main, seed=seed) for seed in range(200)}
    lost = [seed for seed, run in runs.items() if run.value() == 1]
    assert 0 < len(lost) < 200
    assert len({run.digest for run in runs.values()}) > 20
    assert all(run.outside == {} for run in runs.values())
    for seed in lost:
        assert simulate(main, choose=runs[seed].choices) == runs[seed]


def test_t1_recording_spans_and_debug_mode_change_no_schedule() -> None:
    plain = [simulate(scenario, seed=seed) for seed in range(10)]
    with gilscope.trace() as trace:
        traced = [simulate(scenario, seed=seed) for seed in range(10)]
    debugged = [simulate(scenario, seed=seed, debug=True) for seed in range(10)]
    assert traced == plain
    assert debugged == plain
    calls = [span for span in trace.spans if span["span"] == "call"]
    assert len(calls) == 10 * 8


if sys.version_info >= (3, 12):

    def test_t1_eager_tasks_are_deterministic_too() -> None:
        async def main() -> list[object]:
            loop = asyncio.get_running_loop()
            loop.set_task_factory(asyncio.eager_task_factory)
            return await scenario()

        for seed in range(20):
            first = simulate(main, seed=seed)
            assert len(first.value()) == 9
            assert simulate(main, seed=seed) == first
