"""After many calls everything is as it was."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import threading
from typing import TYPE_CHECKING

import gilscope

if TYPE_CHECKING:
    from types import ModuleType


async def echo(i: int) -> int:
    await asyncio.sleep(0)
    return i


async def fails(i: int) -> int:
    raise ValueError(i)


async def tasks() -> int:
    return len(asyncio.all_tasks())


def threads() -> int:
    return len(os.listdir("/proc/self/task"))


def rss() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1])


def a_round(ext: ModuleType, rt: gilscope.PyRuntime, argument: object) -> None:
    ext.flood(echo, 2000, 64)
    assert list(rt.map(echo, range(1000))) == list(range(1000))
    futures = [rt.submit(fails, i) for i in range(500)]
    assert sum(isinstance(future.exception(30), ValueError) for future in futures) == 500
    for _ in range(50):
        ext.send("future", asyncio.sleep, 3600).drop()
        assert rt.call(lambda x: x, argument) is argument
        ext.drop_unattached(argument)


def settled(rt: gilscope.PyRuntime) -> None:
    while rt.in_flight():
        rt.call(echo, 1)
    rt.call(echo, 1)  # what was released meanwhile
    gc.collect()


def test_l20_nothing_grows(ext: ModuleType, default_rt: gilscope.PyRuntime) -> None:
    argument = object()
    for _ in range(2):  # caches, arenas and rings fill up
        a_round(ext, default_rt, argument)
    settled(default_rt)
    before = sys.getrefcount(argument), default_rt.call(tasks), threading.active_count(), threads()
    objects, pages = len(gc.get_objects()), rss()
    for _ in range(4):
        a_round(ext, default_rt, argument)
    settled(default_rt)
    after = sys.getrefcount(argument), default_rt.call(tasks), threading.active_count(), threads()
    assert after == before
    assert len(gc.get_objects()) <= objects * 1.01 + 100
    assert rss() <= pages * 1.05
    assert not default_rt.in_flight()


def test_g5_handles_dropped_on_a_tokio_thread_are_released(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    gone = threading.Event()

    class Told:
        def __del__(self) -> None:
            gone.set()

    ext.drop_unattached(Told())
    assert gone.wait(10)
