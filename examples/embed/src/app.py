"""The Python side of the example: plain asyncio code that knows nothing of its callers."""

import asyncio
from collections.abc import AsyncIterator

import inventory  # written in Rust, in main.rs


async def greet(name: str, *, times: int = 1) -> str:
    """Wait a little, then greet."""
    await asyncio.sleep(0.01)
    return " and ".join([f"hello {name}"] * times)


def double(number: int) -> int:
    """Return at once: a function that is not async can be called the same way."""
    return 2 * number


async def price(item: str, amount: int) -> int:
    """Await Rust from Python."""
    return amount * await inventory.lookup(item)


async def countdown(start: int) -> AsyncIterator[int]:
    """Yield numbers; the last step is an error if it starts below zero."""
    if start < 0:
        raise ValueError("it has to start at 0 or above")
    for number in range(start, 0, -1):
        await asyncio.sleep(0)
        yield number


async def forever(what: str) -> None:
    """Wait until somebody cancels, and clean up then."""
    try:
        await asyncio.Event().wait()
    finally:
        print(f"python: {what} was cleaned up", flush=True)


def received(outcome: object) -> None:
    """Take an outcome; called on the loop thread."""
    print(f"python callback: {outcome.result()}", flush=True)
