"""Cancels that come from several sides at once are one cancel."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import Any

import gilscope

LIMIT = 30


def test_x5_cancels_from_everywhere_at_once(rt: gilscope.PyRuntime) -> None:
    cleanups: list[int] = []
    calls = 40
    started = threading.Semaphore(0)

    async def body(number: int) -> None:
        started.release()
        try:
            await asyncio.sleep(LIMIT)
        finally:
            cleanups.append(number)

    async def awaiting(ready: threading.Barrier) -> list[Any]:
        tasks = [asyncio.ensure_future(rt.call_async(body, calls + i)) for i in range(calls)]
        await asyncio.sleep(0)
        await asyncio.to_thread(ready.wait, LIMIT)
        for task in tasks * 2:
            task.cancel()
        return await asyncio.gather(*tasks, return_exceptions=True)

    futures = [rt.submit(body, number) for number in range(calls)]
    ready = threading.Barrier(5)

    def cancel_all() -> list[bool]:
        ready.wait(LIMIT)
        return [future.cancel() for future in futures * 2]

    def stop() -> dict[str, Any]:
        ready.wait(LIMIT)
        return rt.shutdown("cancel", deadline=LIMIT)

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        ended = pool.submit(lambda: asyncio.run(awaiting(ready)))
        for _ in range(2 * calls):
            assert started.acquire(timeout=LIMIT)
        workers = [pool.submit(work) for work in (cancel_all, cancel_all, stop)]
        ready.wait(LIMIT)
        for worker in workers:
            worker.result(2 * LIMIT)
        errors = [future.exception(LIMIT) for future in futures] + ended.result(2 * LIMIT)
    assert all(isinstance(error, asyncio.CancelledError) for error in errors), errors
    assert {error.by for error in errors if isinstance(error, gilscope.CallCancelled)} <= {
        "caller",
        "shutdown",
    }
    assert sorted(cleanups) == list(range(2 * calls)), "each cleanup runs once"
