"""The Python side of exit.rs."""

import asyncio
import threading
import time

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
