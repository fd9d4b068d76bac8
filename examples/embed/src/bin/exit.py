"""The Python side of exit.rs."""

import asyncio
import atexit
import contextlib
import random
import threading
import time
from collections.abc import Callable

import rust


async def brief() -> None:
    """End soon, after a wait on either side."""
    await asyncio.sleep(0)
    await rust.sleep(0.0005)


async def for_ever() -> None:
    """Wait until cancelled, and then some more."""
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)


async def works() -> None:
    """Keep the loop busy."""
    while True:
        sum(range(20_000))
        await asyncio.sleep(0)


async def waits(seconds: float) -> None:
    """Wait for Rust."""
    await rust.sleep(seconds)


def thread() -> None:
    """Start a daemon thread that takes and gives the GIL."""

    def work() -> None:
        while True:
            time.sleep(0.0001)

    threading.Thread(target=work, daemon=True).start()


class Slow:
    """Keeps the finalization going for a while, without the GIL."""

    def __del__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        """Wait in C."""
        sleep(0.12)


async def holds() -> None:
    """Keep the loop, in C most of the time, past the end of the interpreter."""
    global slow
    slow = Slow()
    atexit._clear()  # as if the exit handler had given up on this thread
    while True:
        with contextlib.suppress(BaseException):
            time.sleep(random.uniform(0, 0.08))  # noqa: ASYNC251 (that is the point)
