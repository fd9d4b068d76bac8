"""Bytes that one sleeping call takes, by growth of the resident set; run in a fresh child each."""

import asyncio
import gc
import time
from pathlib import Path

import gilscope_peers as peers

from benchlib.child import Job

PAGE = 4096
WARM_UP = 200
GROUP = 500
DEADLINE = 60.0

_started = 0


async def sleeper(_i: int) -> None:
    """Sleep until cancelled."""
    global _started
    _started += 1
    await asyncio.sleep(3600)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE


def asyncio_tasks(calls: int) -> Job:
    """Measure the coroutine as tasks of a plain asyncio loop."""

    async def grow() -> float:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(sleeper(i)) for i in range(WARM_UP)]
        await asyncio.sleep(0)
        gc.collect()
        before = resident()
        tasks += [loop.create_task(sleeper(i)) for i in range(calls)]
        await asyncio.sleep(0)
        grown = resident() - before
        for task in tasks:
            task.cancel()
        return grown / calls

    yield {"bytes": asyncio.run(grow())}


def our_calls(calls: int) -> Job:
    """Measure it called from Rust, traced in full, each call awaited by a Rust future."""
    peers.ours_detail("full")
    peers.ours_sink(None)
    held = [_asleep(WARM_UP)]
    gc.collect()
    before = resident()
    # In groups that fit the queue: a caller that waits for room is not a sleeping call.
    held += [_asleep(GROUP) for _ in range(calls // GROUP)]
    grown = resident() - before
    for group in held:
        group.release()
    yield {"bytes": grown / (calls // GROUP * GROUP)}


def _asleep(calls: int) -> peers.Sleepers:
    group = peers.Sleepers(sleeper, calls)
    _until(_started + calls)
    return group


def _until(count: int) -> None:
    end = time.monotonic() + DEADLINE
    while _started < count:
        if time.monotonic() > end:
            raise TimeoutError(f"only {_started} of {count} calls started in {DEADLINE} s")
        time.sleep(0.001)
