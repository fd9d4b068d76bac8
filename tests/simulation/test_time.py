"""One clock for Rust timers, Python timers and deadlines; it moves only when nothing is ready."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

import gilscope
from gilscope.simulation import simulate

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType


@pytest.fixture(params=["gilscope", "ext"])
def rust_sleep(request: pytest.FixtureRequest) -> Callable[[float], Awaitable[None]]:
    """A Rust sleep through the host table: the runtime's own, and another library's."""
    if request.param == "gilscope":
        return gilscope.rust.sleep
    ext: ModuleType = request.getfixturevalue("ext")
    assert ext.found
    sleep: Callable[[float], Awaitable[None]] = ext.host_sleep
    return sleep


def test_t1_no_false_timeout_of_a_rust_sleep(
    rust_sleep: Callable[[float], Awaitable[None]],
) -> None:
    async def main() -> float:
        await asyncio.wait_for(rust_sleep(0.02), 10)
        return asyncio.get_running_loop().time()

    result = simulate(main)
    assert (result.value(), result.now, result.outside) == (0.02, 0.02, {})


def test_t1_a_rust_sleep_times_out_at_its_virtual_time(
    rust_sleep: Callable[[float], Awaitable[None]],
) -> None:
    async def main() -> float:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(rust_sleep(20), 10)
        return asyncio.get_running_loop().time()

    result = simulate(main)
    assert (result.value(), result.now, result.outside) == (10.0, 10.0, {})


def test_t1_timers_due_together_go_in_every_order_and_each_order_replays(
    rust_sleep: Callable[[float], Awaitable[None]],
) -> None:
    async def main() -> list[str]:
        order: list[str] = []

        async def rust() -> None:
            await rust_sleep(0.3)
            order.append("rust")

        async def python() -> None:
            await asyncio.sleep(0.1)
            await asyncio.sleep(0.2)  # 0.1 + 0.2 is not 0.3 in floating point
            order.append("python")

        await asyncio.gather(rust(), python())
        assert asyncio.get_running_loop().time() == 0.3
        return order

    runs = [simulate(main, seed=seed) for seed in range(40)]
    orders = [tuple(run.value()) for run in runs]
    assert set(orders) == {("rust", "python"), ("python", "rust")}
    assert [simulate(main, seed=seed) for seed in range(40)] == runs


def test_t1_a_timer_never_fires_early_nor_out_of_order() -> None:
    delays = [0.5, 0.001, 0.25, 3600.0, 0.0, 86_400.0 * 365, 1e-9]

    async def main() -> list[tuple[float, float]]:
        loop = asyncio.get_running_loop()
        fired: list[tuple[float, float]] = []

        async def wait(delay: float, language: str) -> None:
            sleep = gilscope.rust.sleep if language == "rust" else asyncio.sleep
            await sleep(delay)
            fired.append((loop.time(), delay))

        both = [wait(delay, language) for delay in delays for language in ("rust", "python")]
        await asyncio.gather(*both)
        return fired

    for seed in range(20):
        fired = simulate(main, seed=seed).value()
        assert [at for at, _ in fired] == sorted(at for at, _ in fired)
        assert all(at == delay for at, delay in fired), fired


def test_t1_timers_are_reached_however_late_it_is() -> None:
    century = 86_400.0 * 365 * 100

    async def main() -> float:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(century)
        for _ in range(20):
            before = loop.time()
            await asyncio.sleep(0.1)
            await gilscope.rust.sleep(0.1)
            assert 0.199_99 < loop.time() - before < 0.200_01
        return loop.time()

    assert simulate(main).value() > century


def test_t2_a_call_s_deadline_is_virtual() -> None:
    async def forever() -> None:
        await asyncio.Event().wait()

    async def main() -> tuple[float, str]:
        rt = gilscope.py_runtime()
        with pytest.raises(gilscope.DeadlineExceeded) as raised:
            await rt.options(deadline=3600).call_async(forever)
        return asyncio.get_running_loop().time(), raised.value.where

    assert simulate(main).value() == (3600.0, "suspended")


def test_t2_times_that_are_never_reached() -> None:
    async def main() -> float:
        endless = asyncio.ensure_future(gilscope.rust.sleep(float("inf")))
        await asyncio.wait_for(gilscope.rust.sleep(-1), 1)
        await asyncio.sleep(1)
        assert not endless.done()
        endless.cancel()
        return asyncio.get_running_loop().time()

    assert simulate(main).value() == 1.0


@pytest.mark.parametrize("by", ["call_async", "submit_callback", "extension"])
def test_x4_a_deadline_and_a_result_due_together_in_every_order(ext: ModuleType, by: str) -> None:
    """Each order gives one outcome, which fits how the call ended; both outcomes come up."""

    async def main() -> tuple[list[str], list[str]]:
        rt, told, ended = gilscope.py_runtime(), list[str](), list[str]()
        calls = rt.options(deadline=0.3)

        async def body() -> str:
            try:
                await asyncio.sleep(0.1)
                await asyncio.sleep(0.2)
            except asyncio.CancelledError:
                ended.append("cancelled")
                raise
            ended.append("returned")
            return "value"

        def tell(outcome: gilscope.Outcome[str]) -> None:
            error = outcome.exception()
            told.append(outcome.result() if error is None else type(error).__name__)

        if by == "submit_callback":
            calls.submit_callback(tell, body)
        elif by == "extension":
            sent = ext.send("closure", body, deadline=0.3)
        else:
            try:
                told.append(await calls.call_async(body))
            except gilscope.DeadlineExceeded as error:
                told.append(type(error).__name__)
        await asyncio.sleep(1)
        if by == "extension":
            kinds = [
                value if word == "ok" else type(value).__name__ for word, value in sent.arrived
            ]
            told.extend(kinds)
        return told, ended

    runs = [simulate(main, seed=seed).value() for seed in range(60)]
    assert {tuple(told) for told, _ in runs} == {("value",), ("DeadlineExceeded",)}
    for told, ended in runs:
        assert len(ended) == 1
        assert told == ["DeadlineExceeded"] or ended == ["returned"]
