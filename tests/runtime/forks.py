"""A process that forks again and again while its threads do whatever takes a lock of the runtime's.

Arguments: the number of forks. Prints how many children ended well; a child that hangs shows where.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import gc
import importlib
import os
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from gilscope import PyRuntime, RuntimeStopped, py_runtime, stats, trace
from gilscope.rust import sleep

stats()
import gilscope_test_ext as ext  # noqa: E402 - finds the native module, imported above

# What the runtime imports when it needs it, before there are threads: a fork in the middle of an
# import leaves Python's own lock over that module held.
for name in ("asyncio", "inspect", "json", "selectors", "traceback", "weakref"):
    importlib.import_module(name)

if TYPE_CHECKING:
    from collections.abc import Callable

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside threads
STUCK = 30  # seconds after which a child says where it hangs, and ends
stop = threading.Event()
held: dict[str, Any] = {}  # what the threads are using, for the children to let go of


async def double(x: int) -> int:
    await sleep(0)
    return 2 * x


def makes_and_drops_runtimes() -> None:
    runtime = held["own"] = PyRuntime("own", queue_size=1)
    futures = [runtime.options(deadline=60).submit(double, i) for i in range(3)]
    if futures[0].result(60) == 0:
        held["futures"] = futures


def asks_for_the_default() -> None:
    runtime = py_runtime()
    with contextlib.suppress(RuntimeStopped):
        runtime.submit(double, 1).result(60)
        ext.flood(double, 20)
    runtime.shutdown("abort", deadline=60)


def attaches_sinks() -> None:
    with trace() as traced, contextlib.suppress(RuntimeStopped):
        held["trace"] = traced
        py_runtime().call(double, 1)
        held["spans"] = traced.spans


def lets_go_without_the_gil() -> None:
    for _ in range(50):
        ext.drop_unattached(object())
    with contextlib.suppress(RuntimeStopped):
        ext.send("oneshot", double, 1, deadline=60).wait()


WORK = [makes_and_drops_runtimes, asks_for_the_default, attaches_sinks, lets_go_without_the_gil]


def again_and_again(work: Callable[[], None]) -> None:
    while not stop.is_set():
        work()


def in_child() -> None:
    faulthandler.dump_traceback_later(STUCK, exit=True)
    old = held.pop("own", None)
    if old is not None:
        assert old.is_stopped
        assert old.shutdown("drain") == {"pending": 0, "abandoned": 0, "joined": True}
        refused = None
        try:
            old.submit(double, 1)
        except RuntimeStopped as error:
            refused = str(error)
        assert refused is not None
        assert "fork" in refused
    traced = held.pop("trace", None)
    if traced is not None:
        with contextlib.suppress(RuntimeStopped):
            assert isinstance(traced.spans, list)  # closed before the fork
        traced.__exit__(None, None, None)
    del old, traced
    held.clear()
    gc.collect()
    ext.drop_unattached(object())
    fresh = py_runtime()
    assert fresh.call(double, 1) == 2
    assert fresh.options(deadline=STUCK).submit(double, 2).result(STUCK) == 4
    assert ext.call(double, 3) == 6
    with trace() as traced:
        assert fresh.call(double, 4) == 8
        assert any(span["span"] == "call" for span in traced.spans)
    with PyRuntime("another") as another:
        assert another.call(double, 5) == 10
    assert asyncio.run(double(6)) == 12


def fork() -> int:
    """Fork, wait for the child, return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            in_child()
            code = 0
        except BaseException:
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(forks: int) -> None:
    threads = [threading.Thread(target=again_and_again, args=[work]) for work in WORK]
    for thread in threads:
        thread.start()
    well, forker = 0, PyRuntime("forker")
    for number in range(forks):
        # Every other one on a loop thread.
        code = forker.call(fork) if number % 2 else fork()
        well += code == 0
        if code:
            break
    stop.set()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert py_runtime().call(double, 21) == 42
    print(well)


if __name__ == "__main__":
    main(int(sys.argv[1]))
