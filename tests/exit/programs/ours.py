"""A program that ends: `ours.py awaited-WAY` or `ours.py SITUATION`, see the tables at the end.

Whatever the situation, the program just reaches its end, at a random moment.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import random
import sys
import threading
import time
from typing import TYPE_CHECKING

import gilscope
from gilscope import _native

if TYPE_CHECKING:
    from collections.abc import Callable

MANY = 50


async def brief() -> None:
    await asyncio.sleep(0)
    await gilscope.rust.sleep(0.0005)


async def for_ever() -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await asyncio.sleep(0)


async def works() -> None:
    while True:
        sum(range(20_000))
        await asyncio.sleep(0)


def awaited_call() -> None:
    for _ in range(MANY):
        gilscope.py_runtime().call(brief)


def awaited_submit() -> None:
    rt = gilscope.py_runtime()
    for future in [rt.submit(brief) for _ in range(MANY)]:
        future.result()


def awaited_call_async() -> None:
    async def main() -> None:
        rt = gilscope.py_runtime()
        await asyncio.gather(*(rt.call_async(brief) for _ in range(MANY)))

    asyncio.run(main())


def awaited_rust() -> None:
    async def main() -> None:
        await asyncio.gather(*(gilscope.rust.sleep(0.0005) for _ in range(MANY)))

    asyncio.run(main())


def suspended() -> None:
    """Python coroutines that wait for nothing."""
    for _ in range(MANY):
        gilscope.py_runtime().submit(for_ever)


def busy() -> None:
    """Python coroutines that keep the loop thread busy."""
    for _ in range(4):
        gilscope.py_runtime().submit(works)


def held() -> None:
    """A call that holds the loop thread, in code that lets go of the GIL now and then."""

    async def holds() -> None:
        while True:
            time.sleep(0.001)  # noqa: ASYNC251 (holding the loop is the point)

    gilscope.py_runtime().submit(holds)


def spin() -> None:
    """A plain function that holds the loop thread and the GIL."""

    def spins() -> None:
        while True:
            pass

    gilscope.py_runtime().submit(spins)


def rust_pending() -> None:
    """Python coroutines that wait for Rust; some of it is ready at any moment."""
    for i in range(MANY):
        gilscope.py_runtime().submit(gilscope.rust.sleep, i * 0.002)


def submitting() -> None:
    """Tokio tasks that submit calls in a loop."""
    sink = os.open(os.devnull, os.O_WRONLY)
    batch = _native.Batch(gilscope.py_runtime(), lambda _: brief(), 16, None, sink, encode=repr)

    def feed() -> None:
        index = 0
        while batch.feed(index, index):
            index += 1

    threading.Thread(target=feed, daemon=True).start()


def threads() -> None:
    """Daemon threads of Python inside a blocking call: short ones, and ones that never end."""
    rt = gilscope.py_runtime()

    def keep(fun: Callable[[], object]) -> None:
        stopped = (gilscope.GilscopeError, concurrent.futures.CancelledError)
        with contextlib.suppress(*stopped):
            while True:
                rt.call(fun)

    for fun in (brief, brief, for_ever, for_ever):
        threading.Thread(target=keep, args=(fun,), daemon=True).start()


def full_queue() -> None:
    """A queue without room, and callers that wait for some."""
    global full
    full = gilscope.PyRuntime("full", queue_size=2, max_in_flight=2)
    for _ in range(MANY):
        full.submit(for_ever)


def everything() -> None:
    """All of it at once."""
    for situation in (suspended, busy, rust_pending, submitting, threads, full_queue):
        situation()


def main(what: str) -> None:
    {
        "awaited-call": awaited_call,
        "awaited-submit": awaited_submit,
        "awaited-call_async": awaited_call_async,
        "awaited-rust": awaited_rust,
        "suspended": suspended,
        "busy": busy,
        "held": held,
        "spin": spin,
        "rust-pending": rust_pending,
        "submitting": submitting,
        "threads": threads,
        "full-queue": full_queue,
        "everything": everything,
    }[what]()
    if not what.startswith("awaited"):
        time.sleep(random.uniform(0, 0.03))


if __name__ == "__main__":
    main(sys.argv[1])
