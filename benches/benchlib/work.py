"""What is measured: the coroutine functions, the cells of the table, and the bars they gate on."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


async def immediate(i: int) -> int:
    """Return without suspending."""
    return i


async def sleep0(i: int) -> int:
    """Suspend once, for one turn of the loop."""
    await asyncio.sleep(0)
    return i


async def sleep1ms(i: int) -> int:
    """Suspend once, for a timer."""
    await asyncio.sleep(0.001)
    return i


async def await_rust(make: Callable[[int], Awaitable[int]], n: int, in_flight: int) -> None:
    """Await `n` ready Rust futures, spread over `in_flight` tasks."""

    async def some(count: int) -> None:
        for i in range(count):
            await make(i)

    if in_flight == 1:
        await some(n)
    else:
        await asyncio.gather(*(some(n // in_flight) for _ in range(in_flight)))


async def slow() -> None:
    """Stay open until cancelled, waking every millisecond, never holding the loop for long."""
    for _ in itertools.count():
        await asyncio.sleep(0.001)


@dataclass(frozen=True)
class Cell:
    """One line of the table.

    `peer_n` and `n` are calls per repeat, for the peers and for gilscope: about 0.2 s each.
    `bar` gates the pinned placement with the null sink; `goal` is what the free one aims at.
    """

    work: str
    in_flight: int
    peer_n: int
    n: int
    bar: float | None = None
    goal: float | None = None

    @property
    def label(self) -> str:
        """How the cell is called in the table and in messages."""
        return f"{self.work} {self.in_flight}"


CELLS = (
    Cell("immediate", 1, 4_000, 16_000, bar=4.0),
    Cell("immediate", 64, 8_000, 64_000, bar=14.0, goal=20.0),
    Cell("immediate", 1024, 8_000, 64_000, bar=20.0, goal=35.0),
    Cell("sleep0", 64, 8_000, 32_000, bar=6.0, goal=9.0),
    Cell("sleep1ms", 1024, 8_000, 24_000, bar=2.0, goal=3.0),
    Cell("await_rust", 1, 6_400, 64_000, bar=10.0),
    Cell("await_rust", 64, 6_400, 64_000),
)

FUNCTIONS = {"immediate": immediate, "sleep0": sleep0, "sleep1ms": sleep1ms}

SPAN_ON_NS = 40.0
SPAN_OFF_NS = 1.0
CALL_BYTES_ABOVE_TASK = 1024.0
FAIR_RATIO = 2.0

# With everything exported to a collector: calls a second at which none may be lost, their p99 over
# that without export, the share of calls a second at saturation, and spans a second.
EXPORT_PACE = 20_000
EXPORT_P99_RATIO = 1.2
EXPORT_SHARE = 0.75
EXPORT_PER_S = 400_000
