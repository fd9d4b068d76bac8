"""A program that ends while threads of the runtime are in C code: `in_c.py WHERE WAY`.

They come back to an interpreter that is ending, which on Python 3.13 and before it answers by
ending the thread where it stands, below frames of ours: which ones, says WHERE, see `main`. WAY:
"bound", the loops stay held until our exit handler has given up on them; "gone", the same without
that wait, as the handler does not run at all.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import contextvars
import gc
import random
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gilscope
from gilscope import _native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

HOLDING = ["step", "throw", "start", "callback", "finalizer", "submitting"]
RUNTIMES = [gilscope.PyRuntime(f"held-{i}") for i in range(4)]


class Slow:
    """Keeps the finalization going for a while, without the GIL."""

    def __del__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        sleep(0.12)


# Not a global of this module: threads that run its functions keep those.
sys.__dict__["slow"] = Slow()
held = threading.Semaphore(0)


def hold() -> None:
    """Never let go of this thread; most of the time is spent in C, without the GIL."""
    held.release()
    while True:
        with contextlib.suppress(BaseException):  # the exit handler's SystemExit, too
            while True:
                time.sleep(random.uniform(0, 0.08))


class Seconds:
    """A number, worked out in Python."""

    def __float__(self) -> float:
        return float(sum(range(100)))


class Argument:
    def __del__(self) -> None:
        hold()


async def holds() -> None:
    hold()


async def catches(started: threading.Event) -> None:
    started.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        hold()


async def takes(argument: Argument, let_go: threading.Event) -> None:
    while not let_go.is_set():  # noqa: ASYNC110 (set by another thread)
        await asyncio.sleep(0.001)


def step(rt: gilscope.PyRuntime) -> None:
    rt.submit(holds)


def throw(rt: gilscope.PyRuntime) -> None:
    started = threading.Event()
    future = rt.submit(catches, started)
    started.wait()
    future.cancel()


def start(rt: gilscope.PyRuntime) -> None:
    rt.submit(hold)


def callback(rt: gilscope.PyRuntime) -> None:
    rt.submit_callback(lambda _: hold(), asyncio.sleep, 0)


def finalizer(rt: gilscope.PyRuntime) -> None:
    let_go = threading.Event()
    rt.submit(takes, Argument(), let_go)
    let_go.set()  # the last reference is the call's


def courier(rt: gilscope.PyRuntime) -> None:
    """A deadline that passes while the loop is held; whose future is told by another thread."""
    rt.submit(holds)
    held.acquire()
    here = threading.get_ident()
    deadline, late = 0.001, True

    def tell(_: object) -> None:
        nonlocal late
        late = threading.get_ident() == here
        if not late:
            hold()

    # On a busy machine a future may be done before it has its callback, which then is called here.
    while late:
        late = False
        future = rt.options(deadline=deadline).submit(asyncio.sleep, 0)
        future.add_done_callback(tell)
        deadline *= 2


def submitting(rt: gilscope.PyRuntime) -> None:
    """A thread of the user's that keeps calling."""

    def submits() -> None:
        held.release()
        while True:
            with contextlib.suppress(BaseException):
                rt.submit(asyncio.sleep, 0)

    threading.Thread(target=submits, daemon=True).start()


def calling(rt: gilscope.PyRuntime) -> None:
    """Threads of the user's inside calls that let go of arguments, or refuse."""
    sys.setswitchinterval(1e-6)

    class Dropped:
        def __del__(self) -> None:
            sum(range(100))

    def calls(call: Callable[..., object]) -> None:
        while True:
            with contextlib.suppress(BaseException):
                call(asyncio.sleep, Dropped())

    for call in (rt.call, rt.submit, rt.options(deadline=0).call):
        threading.Thread(target=calls, args=(call,), daemon=True).start()
    held.release()


def awaiting(rt: gilscope.PyRuntime) -> None:
    """A loop of the user's whose coroutines await calls and Rust."""
    sys.setswitchinterval(1e-6)

    async def awaits(awaitable: Callable[[], Awaitable[object]]) -> None:
        while True:
            with contextlib.suppress(Exception):
                await awaitable()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(awaitable(), 0.0001)

    async def main() -> None:
        each = (lambda: rt.call_async(asyncio.sleep, 0), lambda: gilscope.rust.sleep(0.0001))
        held.release()
        await asyncio.gather(*(awaits(awaitable) for awaitable in each * 4))

    threading.Thread(target=asyncio.run, args=(main(),), daemon=True).start()


def keeps(does: Callable[[], object], threads: int = 4) -> None:
    """Threads of the user's that do it again and again."""
    sys.setswitchinterval(1e-6)

    def keep() -> None:
        while True:
            with contextlib.suppress(BaseException):
                does()
            held.release()

    for _ in range(threads):
        threading.Thread(target=keep, daemon=True).start()


def result(rt: gilscope.PyRuntime) -> None:
    """Threads that wait for outcomes, some of which never come."""
    keeps(lambda: rt.submit(asyncio.sleep, 0).result())
    keeps(lambda: rt.submit(asyncio.Event().wait).result(), threads=8)


def mapping(rt: gilscope.PyRuntime) -> None:
    keeps(lambda: list(rt.map(abs, range(100))))


def checking(rt: gilscope.PyRuntime) -> None:
    """Threads that have options and callbacks looked at, which they may not use."""
    keeps(lambda: _native.refuse_async(print), threads=2)
    keeps(lambda: rt.options(deadline=Seconds(), name="checked"), threads=2)
    keeps(lambda: gilscope.rust.sleep(Seconds()), threads=2)
    keeps(lambda: gilscope.rust.read_file(Path("/")), threads=2)


def spans(rt: gilscope.PyRuntime) -> None:
    """Threads that read a trace in memory."""
    number = _native.trace_start()
    for _ in range(200):
        rt.call(abs, 1)
    keeps(lambda: _native.trace_memory(number), threads=4)


def dropping(rt: gilscope.PyRuntime) -> None:
    """Threads that let go of awaitables, streams and options which hold the last references."""

    class Held:
        def __del__(self) -> None:
            sum(range(100))

    async def items(held: Held) -> AsyncIterator[Held]:
        yield held

    variable = contextvars.ContextVar[Held]("variable")

    def options() -> None:
        context = contextvars.Context()
        context.run(variable.set, Held())
        rt.options(context=context)

    keeps(lambda: rt.call_async(asyncio.sleep, Held()), threads=2)
    keeps(lambda: rt.stream(items, Held()), threads=2)
    keeps(options, threads=2)


def tasks(rt: gilscope.PyRuntime) -> None:
    """Threads that let go of the tasks of calls: of by themselves, and in cycles."""

    class Held:
        __slots__ = ()  # not for the garbage collector, which would run this before it clears

        def __del__(self, sleep: Callable[[float], None] = time.sleep) -> None:
            sleep(0.02)

    async def ends(box: list[object]) -> Held:
        box.append(asyncio.current_task())
        return Held()

    def ended(cycle: bool) -> None:
        box: list[Any] = []
        futures = [rt.submit(ends, box) for _ in range(5)]
        while futures:
            futures.pop().result()
        if cycle:
            for task in box:
                task.itself = task
            del task
        box.clear()
        if cycle:
            gc.collect()

    keeps(lambda: ended(False), threads=2)
    keeps(lambda: ended(True), threads=2)


def main(where: str, way: str) -> None:
    hold_at = {
        "step": step,
        "throw": throw,
        "start": start,
        "callback": callback,
        "finalizer": finalizer,
        "courier": courier,
        "submitting": submitting,
        "calling": calling,
        "awaiting": awaiting,
        "result": result,
        "mapping": mapping,
        "checking": checking,
        "spans": spans,
        "dropping": dropping,
        "tasks": tasks,
    }[where]
    # There is one courier; and one runtime has threads enough that call.
    for rt in RUNTIMES[: None if where in HOLDING else 1]:
        hold_at(rt)
        held.acquire()
    if where == "calling":
        RUNTIMES[0].shutdown("abort")
    if way == "gone":
        atexit._clear()


if __name__ == "__main__":
    main(*sys.argv[1:])
