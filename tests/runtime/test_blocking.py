"""Where blocking on a call is refused, and what a full queue and its line hold at most."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"

# A runtime whose loop does not start, and what memory has grown by.
HELD = """
import resource, threading, gilscope

release = threading.Event()

async def on_start():
    assert release.wait(600)

async def echo(x):
    return x

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() // 2**20

rt = gilscope.PyRuntime(queue_size=1000, on_start=on_start)
before = resident()
"""


def in_process(code: str) -> None:
    """Run code after `HELD` in a process of its own."""
    program = HELD + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, ""), done


async def echo(x: object = 1) -> object:
    return x


def test_b2_a_million_enqueues_before_the_loop_starts(ext: ModuleType) -> None:
    release = threading.Event()

    async def on_start() -> None:
        assert release.wait(300)

    ran: list[int] = []
    runtime = ext.Runtime(queue_size=1000, on_start=on_start)
    taken, full = runtime.try_many(lambda: ran.append(1), 1_000_000)
    assert (taken, full) == (1000, 999_000)
    assert ran == []
    release.set()
    assert runtime.shutdown("drain", 30)[2]
    assert len(ran) == 1000


def test_b2_a_million_submits_wait_in_a_line_that_ends() -> None:
    in_process("""
    LINE = 65_536
    taken, texts, told = [], set(), []
    for i in range(1_000_000):
        try:
            if i % 2:
                rt.submit_callback(lambda outcome, i=i: told.append(outcome.result() == i), echo, i)
                taken.append(None)
            else:
                taken.append(rt.submit(echo, i))
        except gilscope.QueueFull as error:
            texts.add(str(error))
    grown = resident() - before
    assert len(taken) == 1000 + LINE, len(taken)
    assert grown < 400, grown
    (text,) = texts
    assert all(word in text for word in ("queue_size=1000", "65536", "call_async", "map")), text

    # Who waits for its own calls waits for room, too.
    mapped, called = [], []
    waits = [
        threading.Thread(target=lambda: mapped.extend(rt.map(echo, range(100), concurrency=10))),
        threading.Thread(target=lambda: called.append(rt.call(echo, 1))),
    ]
    for thread in waits:
        thread.start()
    release.set()
    for thread in waits:
        thread.join(300)
    assert (mapped, called) == (list(range(100)), [1])
    assert [future.result(300) for future in taken[::2]] == list(range(0, len(taken), 2))
    assert rt.shutdown("drain", 300)["joined"]
    assert told == [True] * (len(taken) // 2), len(told)
    """)


def test_b2_a_line_that_was_full_takes_calls_again() -> None:
    in_process("""
    def refused():
        try:
            rt.submit(echo, 0)
        except gilscope.QueueFull:
            return True

    while not refused():
        pass
    release.set()
    rt.call(echo, 0)  # queued behind all of them
    assert rt.submit(echo, 1).result(300) == 1
    assert rt.shutdown("drain", 300)["joined"]
    """)


@pytest.mark.parametrize("how", ["submit", "submit_callback", "call", "call_async"])
def test_b2_refused_calls_leave_nothing_behind(how: str) -> None:
    in_process(f"""
    import asyncio, functools

    fails = rt.options(full="fail")
    for i in range(1000):
        fails.submit(echo, i)
    ways = {{
        "submit": lambda fun: fails.submit(fun),
        "submit_callback": lambda fun: fails.submit_callback(lambda _, fun=fun: None, echo, 1),
        "call": lambda fun: fails.call(fun),
    }}

    async def refused():
        for i in range(30_000):
            fun = functools.partial(echo, b"x" * 10_000)
            try:
                if {how!r} == "call_async":
                    await fails.call_async(fun)
                else:
                    ways[{how!r}](fun)
            except gilscope.QueueFull:
                continue
            raise AssertionError("it was taken")

    asyncio.run(refused())
    grown = resident() - before
    assert grown < 30, grown  # of 300 MB, and of 54 MB of futures
    release.set()
    """)


def test_b3_blocking_on_a_loop_thread_is_refused(
    ext: ModuleType, default_rt: gilscope.PyRuntime, rt: gilscope.PyRuntime
) -> None:
    async def inside(call: Callable[..., object]) -> object:
        return call(echo)

    for runtime in (default_rt, rt):  # its own loop, and another's
        for call in (default_rt.call, rt.call, ext.call_blocking):
            with pytest.raises(gilscope.WrongThread):
                runtime.call(inside, call)
    assert default_rt.call(echo) == rt.call(echo) == 1


@pytest.mark.parametrize("how", ["result", "exception", "result_in_time", "map", "empty_map"])
def test_b3_waiting_on_a_loop_thread_is_refused(
    default_rt: gilscope.PyRuntime, rt: gilscope.PyRuntime, gate: Any, how: str
) -> None:
    ways: dict[str, Callable[[], object]] = {
        "result": lambda: rt.submit(gate).result(),
        "exception": lambda: rt.submit(gate).exception(),
        "result_in_time": lambda: rt.submit(gate).result(timeout=600),
        "map": lambda: list(rt.map(echo, iter(range(3)))),
        "empty_map": lambda: list(rt.map(echo, [])),
    }

    async def inside() -> object:
        return ways[how]()

    for runtime in (rt, default_rt):  # its own loop, and another's
        with pytest.raises(gilscope.WrongThread):
            runtime.call(inside)
    assert rt.call(echo) == default_rt.call(echo) == 1


def test_b3_what_need_not_wait_may_be_asked_on_a_loop_thread(rt: gilscope.PyRuntime) -> None:
    async def fails() -> None:
        raise ValueError("failed")

    ended, failed = rt.submit(echo, 2), rt.submit(fails)
    assert ended.result(30) == 2
    assert type(failed.exception(30)) is ValueError

    async def inside() -> object:
        under_way = rt.submit(echo)
        with pytest.raises(TimeoutError):
            under_way.result(timeout=0)
        with pytest.raises(ValueError, match="failed"):
            failed.result()
        return ended.result(), ended.exception(), type(failed.exception())

    assert rt.call(inside) == (2, None, ValueError)


def test_b3_blocking_on_a_tokio_worker_is_refused(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    with pytest.raises(gilscope.WrongThread, match="tokio"):
        ext.call_blocking_on_worker(echo)
    assert ext.call_blocking(echo) == 1
