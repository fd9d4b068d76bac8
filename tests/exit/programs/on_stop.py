"""A program that ends while its runtime has something left to await: `on_stop.py SITUATION`.

Says on stderr what did not run to its end although it had the time.
"""

from __future__ import annotations

import asyncio
import atexit
import sys
import threading
import time

import gilscope

begun = threading.Event()
unfinished: set[str] = set()
kept: list[asyncio.Task[None]] = []


@atexit.register  # before the runtime's own handler is, so it runs after that
def check() -> None:
    for what in unfinished:
        print(what, "was cut short", file=sys.stderr)


def spin() -> None:
    begun.set()
    while True:
        time.sleep(0.001)


async def holds() -> None:
    spin()


async def let_go() -> None:
    """Hold the loop until it has been given up, and its callers freed."""
    begun.set()
    while not future.done():
        time.sleep(0.001)  # noqa: ASYNC251 (holding the loop is the point)


async def ends() -> None:
    begun.set()


async def work() -> None:
    """Hold the loop for some milliseconds, and let it go on."""
    for _ in range(100_000):
        pass
    await asyncio.sleep(0)


async def slow_stop() -> None:
    """Works and awaits, past the time that calls have for their cleanup."""
    unfinished.add("on_stop")
    end = time.monotonic() + 1.8
    while time.monotonic() < end:
        await work()
    unfinished.clear()


async def working_stop() -> None:
    """Holds the loop, for less long than makes it one that does not answer."""
    for _ in range(15):
        time.sleep(0.01)  # noqa: ASYNC251 (as it says)
    unfinished.clear()


async def endless_stop() -> None:
    while True:
        await work()


async def leaves_slow_task() -> None:
    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)

    kept.append(asyncio.create_task(left()))
    await asyncio.sleep(0)
    spin()


async def leaves_spinning_task() -> None:
    async def left() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            spin()

    kept.append(asyncio.create_task(left()))
    await asyncio.sleep(0)
    begun.set()


async def has_spinning_task() -> None:
    kept.append(asyncio.create_task(holds()))
    await kept[0]


def main(what: str) -> None:
    fun, on_stop = {
        "slow-stop": (ends, slow_stop),
        "held-then-stop": (holds, working_stop),
        "let-go-then-stop": (let_go, working_stop),
        "endless-stop": (ends, endless_stop),
        "slow-task": (leaves_slow_task, None),
        "spinning-task": (leaves_spinning_task, None),
        "held-by-task": (has_spinning_task, working_stop),
    }[what]
    if on_stop is working_stop:
        unfinished.add("on_stop")
    global rt, future
    rt = gilscope.PyRuntime("stops", on_stop=on_stop)
    future = rt.submit(fun)
    begun.wait()


if __name__ == "__main__":
    main(sys.argv[1])
