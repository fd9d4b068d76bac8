"""The long jobs of `soak.py`, each run in a child that must also exit cleanly."""

import asyncio
import gc
import os
import resource
import sys
import time
from pathlib import Path

import gilscope_peers as peers

from benchlib.child import Job, Message
from benchlib.memory import resident
from benchlib.work import immediate

IN_FLIGHT = 256


async def mixed(i: int) -> int:
    """Return at once nine times of ten, else after a turn of the loop; raise once in a hundred."""
    if i % 10 == 0:
        await asyncio.sleep(0)
    if i % 100 == 99:
        raise ValueError(i)
    return i


async def open_tasks(_i: int) -> int:
    """Count the tasks of the runtime's loop, this call included."""
    return len(asyncio.all_tasks())


def _traced() -> None:
    peers.ours_detail("full")
    peers.ours_sink(None)


def many_calls(calls: int, chunk: int) -> Job:
    """Make `calls` calls in chunks, account for every outcome, report the resident set."""
    _traced()
    done = lost = wrong = 0
    raising = range(99, chunk, 100)
    expected_sum = sum(range(chunk)) - sum(raising)
    while done < calls:
        seconds, values, total, errors = peers.ours_checked(mixed, chunk, IN_FLIGHT)
        done += chunk
        lost += chunk - values - errors
        wrong += (total != expected_sum) + (errors != len(raising))
        gc.collect()
        yield {"done": done, "rss": resident(), "us": seconds / chunk * 1e6}
    stats = peers.ours_stats()
    dropped = stats["dropped"] + stats["incomplete"]
    yield {"calls": done, "lost": lost, "wrong_chunks": wrong, "dropped": dropped}


def _threads() -> dict[str, int]:
    """Nanoseconds on a CPU so far of each thread, by name and id."""
    found = {}
    for task in Path("/proc/self/task").iterdir():
        name = (task / "comm").read_text().strip()
        found[f"{name} {task.name}"] = int((task / "schedstat").read_text().split()[0])
    return found


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def idle(seconds: float) -> Job:
    """Let a runtime that has served calls sit idle, and report the CPU time that took."""
    _traced()
    peers.ours_checked(mixed, 1_000, IN_FLIGHT)
    time.sleep(1.0)
    before, cpu = _threads(), _cpu()
    time.sleep(seconds)
    cpu = _cpu() - cpu
    # The main thread's share is what reading the others' took: that is not idling.
    own = f" {os.getpid()}"
    others = {name: ns for name, ns in _threads().items() if not name.endswith(own)}
    by_thread = {name: (ns - before.get(name, 0)) / 1e6 for name, ns in others.items()}
    yield {"cpu_ms": cpu * 1e3, "by_thread_ms": {k: v for k, v in by_thread.items() if v > 0}}


def _held() -> Message:
    """Count what could leak: objects, references, tasks, threads, memory."""
    _, _, tasks, _ = peers.ours_checked(open_tasks, 1, 1)
    time.sleep(0.5)
    gc.collect()
    return {
        "references to the function": sys.getrefcount(immediate),
        "tracked objects": len(gc.get_objects()),
        "allocated blocks": sys.getallocatedblocks(),
        "tasks": tasks,
        "threads": len(os.listdir("/proc/self/task")),
        "resident bytes": resident(),
    }


def after_calls(calls: int) -> Job:
    """L20: compare what is held before and after `calls` calls."""
    _traced()
    # The rings fill once; a lap of them belongs to the baseline.
    for fun in (mixed, immediate):
        peers.ours_checked(fun, 40_000, IN_FLIGHT)
    _held()
    before = _held()
    peers.ours_checked(immediate, calls // 2, IN_FLIGHT)
    peers.ours_checked(mixed, calls - calls // 2, IN_FLIGHT)
    yield {"before": before, "after": _held()}
