"""Prints how fast simulations go, by kind of work.

A simulation is one thread, so the seconds are this thread's own: a busy machine changes little.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

import gilscope
from gilscope.simulation import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

ROUNDS = 7


async def python_tasks() -> None:
    """Python tasks only: what the loop itself costs."""

    async def spin() -> None:
        for _ in range(500):
            await asyncio.sleep(0)

    await asyncio.gather(*(spin() for _ in range(20)))


async def rust_sleeps() -> None:
    """Rust sleeps awaited by Python tasks."""

    async def sleep(number: int) -> None:
        for _ in range(50):
            await gilscope.rust.sleep(0.001 * number)

    await asyncio.gather(*(sleep(number) for number in range(20)))


async def calls() -> None:
    """Calls that sleep once, through Rust tasks."""
    rt = gilscope.py_runtime()

    async def call() -> None:
        for _ in range(25):
            await rt.call_async(asyncio.sleep, 0.001)

    await asyncio.gather(*(call() for _ in range(20)))


async def small() -> None:
    """A scenario of the size a test has: what making a simulation costs."""
    rt = gilscope.py_runtime()
    await asyncio.gather(rt.call_async(asyncio.sleep, 1), gilscope.rust.sleep(1))


def measure(main: Callable[[], Coroutine[object, object, None]], runs: int) -> tuple[float, float]:
    """Steps a second and runs a second, medians of the rounds."""
    steps_rates, run_rates = [], []
    for round_ in range(ROUNDS):
        start = time.thread_time()
        steps = 0
        for run in range(runs):
            result = simulate(main, seed=round_ * runs + run)
            result.value()
            steps += result.steps
        taken = time.thread_time() - start
        steps_rates.append(steps / taken)
        run_rates.append(runs / taken)
    return statistics.median(steps_rates), statistics.median(run_rates)


def main() -> None:
    """Measure and print."""
    simulate(small)  # starts what is started once in a process
    print(f"{'work':<14}{'steps/s':>12}{'runs/s':>10}")
    for work, runs in ((python_tasks, 3), (rust_sleeps, 5), (calls, 5), (small, 200)):
        steps, rate = measure(work, runs)
        print(f"{work.__name__:<14}{steps:>12,.0f}{rate:>10,.0f}")


if __name__ == "__main__":
    main()
