"""What `ours.py` does, as far as pyo3-async-runtimes can: `peer.py awaited-…` or a situation."""

from __future__ import annotations

import asyncio
import random
import sys
import threading
import time

import gilscope_exit_peer as peer

MANY = 50


def start_loop() -> asyncio.AbstractEventLoop:
    """Run a loop on a daemon thread, as gilscope does."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, daemon=True).start()
    return loop


async def brief() -> None:
    await asyncio.sleep(0)
    await peer.sleep(0.0005)


async def for_ever() -> None:
    await asyncio.Event().wait()


async def works() -> None:
    while True:
        sum(range(20_000))
        await asyncio.sleep(0)


async def waits_for_rust(seconds: float) -> None:
    await peer.sleep(seconds)


def awaited_call() -> None:
    loop = start_loop()
    peer.call_all(loop, brief, MANY)
    loop.call_soon_threadsafe(loop.stop)


def awaited_rust() -> None:
    async def main() -> None:
        await asyncio.gather(*(peer.sleep(0.0005) for _ in range(MANY)))

    asyncio.run(main())


def suspended() -> None:
    peer.keep_calling(start_loop(), for_ever, MANY)


def busy() -> None:
    peer.keep_calling(start_loop(), works, 4)


def rust_pending() -> None:
    loop = start_loop()
    for i in range(MANY):
        asyncio.run_coroutine_threadsafe(waits_for_rust(i * 0.002), loop)


def submitting() -> None:
    peer.keep_calling(start_loop(), brief, 16)


def everything() -> None:
    for situation in (suspended, busy, rust_pending, submitting):
        situation()


def main(what: str) -> None:
    {
        "awaited-call": awaited_call,
        "awaited-rust": awaited_rust,
        "suspended": suspended,
        "busy": busy,
        "rust-pending": rust_pending,
        "submitting": submitting,
        "everything": everything,
    }[what]()
    if not what.startswith("awaited"):
        time.sleep(random.uniform(0, 0.03))


if __name__ == "__main__":
    main(sys.argv[1])
