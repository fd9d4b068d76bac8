"""What is let go of when a runtime or a queue refuses."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable


class Thing:
    """Something to watch."""


def gone(name: str) -> bool:
    return all(thread.name != name for thread in threading.enumerate())


def test_l4_a_held_loop_ends_once_it_is_let_go() -> None:
    runtime = gilscope.PyRuntime("held-and-let-go")
    started, release, cancelled = threading.Event(), threading.Event(), threading.Event()

    async def holds() -> None:
        started.set()
        assert release.wait(60)
        try:
            await asyncio.sleep(1000)
        finally:
            cancelled.set()

    future = runtime.submit(holds)
    assert started.wait(10)
    report = runtime.shutdown("cancel", deadline=0.05)
    assert not report["joined"]
    with pytest.raises(gilscope.RuntimeStopped):
        future.result(10)
    release.set()
    assert cancelled.wait(10)
    end = time.monotonic() + 10
    while not gone("gilscope-held-and-let-go") and time.monotonic() < end:
        time.sleep(0.01)
    assert gone("gilscope-held-and-let-go")


def test_g3_a_refused_call_keeps_nothing_until_its_deadline() -> None:
    release = threading.Event()

    async def on_start() -> None:
        assert release.wait(60)

    with gilscope.PyRuntime(queue_size=1, on_start=on_start) as runtime:
        calls = runtime.options(deadline=600, full="fail")
        first = calls.submit(len, [])
        things = [Thing() for _ in range(20)]
        watched = [weakref.ref(thing) for thing in things]
        for thing in things:
            with pytest.raises(gilscope.QueueFull):
                calls.submit(id, thing)
        del things, thing
        release.set()
        assert first.result(10) == 0
        assert runtime.call(len, []) == 0
        gc.collect()
        assert [watch() for watch in watched] == [None] * 20


# What a plain Rust thread lets go of; `before` says what runtimes there were.
DROPPED = """
import gilscope, os, sys, threading, warnings
gilscope.stats()  # for the extension to find it
import gilscope_test_ext as ext

warnings.simplefilter("ignore")  # of a fork with threads

class Told:
    def __init__(self, gone):
        self.gone = gone

    def __del__(self):
        self.gone.set()

async def waits():
    pass

def released():
    gone = threading.Event()
    ext.drop_on_thread(Told(gone), at_its_end)
    return gone.wait(10)

at_its_end, before = sys.argv[1] == "True", sys.argv[2]
if before == "default":
    gilscope.py_runtime().call(waits)
    assert gilscope.py_runtime().shutdown("drain", 20)["joined"]
if before == "own":
    with gilscope.PyRuntime() as runtime:
        runtime.call(waits)
assert released()
assert released()
if before == "fork":
    child = os.fork()
    if child == 0:
        os._exit(0 if released() else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert released()
print("released")
"""


@pytest.mark.parametrize("before", ["none", "default", "own", "fork"])
@pytest.mark.parametrize("at_its_end", [False, True])
def test_g5_a_handle_dropped_while_no_runtime_lives_is_released(
    script: Callable[..., str], at_its_end: bool, before: str
) -> None:
    assert script(DROPPED, at_its_end, before) == "released\n"
