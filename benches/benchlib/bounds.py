"""What the contract bounds in real time, measured: no unit test may assert a time."""

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import gilscope
from benchlib.child import Job, Message

TIMES = 20
# At once: most of each only waits.
SHUTDOWNS = 5
EXITS = 7
HUNG = 60.0
DEADLINE = 0.1
# As docs/shutdown.md and docs/exit.md have it.
SHUTDOWN_GRACE = 1.0
EXIT_DEADLINE = 1.0
EXIT_HELD = 3.0


async def for_ever() -> None:
    """Wait for nothing."""
    await asyncio.Event().wait()


async def works() -> None:
    """Keep the loop busy, and let others have it now and then."""
    while True:
        sum(range(20_000))
        await asyncio.sleep(0)


class Held:
    """A runtime whose loop somebody's code holds, without the GIL, until `let_go`."""

    def __init__(self, **options: int) -> None:
        self.rt = gilscope.PyRuntime(**options)  # type: ignore[arg-type]
        started, self._let_go = threading.Event(), threading.Event()

        def hold() -> None:
            started.set()
            self._let_go.wait()

        self.rt.submit(hold)
        started.wait()

    def let_go(self) -> None:
        """Let the loop go on, and end it."""
        self._let_go.set()
        self.rt.shutdown("abort", deadline=HUNG)


def _took(error: type[BaseException], call: Callable[[], object]) -> float:
    """Seconds until what is to fail has failed."""
    began = time.monotonic()
    try:
        call()
    except error:
        return time.monotonic() - began
    raise AssertionError(f"no {error.__name__}")


def _found(what: str, bound: float, seconds: list[float]) -> Message:
    return {"what": what, "bound": bound, "seconds": seconds}


def _late(rt: gilscope.PyRuntime, deadline: float) -> float:
    calls = rt.options(deadline=deadline)
    return _took(gilscope.DeadlineExceeded, lambda: calls.call(for_ever)) - deadline


def deadlines() -> Job:
    """X6: how late a blocked caller is freed."""
    for deadline in (0.05, 0.3):
        with gilscope.PyRuntime("idle") as rt:
            late = [_late(rt, deadline) for _ in range(TIMES)]
        yield _found(f"X6: lateness of a deadline of {deadline} s, idle loop", 0, late)
        with gilscope.PyRuntime("busy") as rt:
            for _ in range(4):
                rt.submit(works)
            late = [_late(rt, deadline) for _ in range(TIMES)]
        yield _found(f"X6: lateness of a deadline of {deadline} s, busy loop", 0, late)
    held = Held()
    late = [_late(held.rt, 0.05) for _ in range(TIMES)]
    held.let_go()
    yield _found("X6: lateness of a deadline of 0.05 s, held loop", 0, late)


def _shutdown(mode: str) -> float:
    held = Held()
    began = time.monotonic()
    held.rt.shutdown(mode, deadline=DEADLINE)  # type: ignore[arg-type]
    took = time.monotonic() - began
    held.let_go()
    return took


def shutdowns() -> Job:
    """L4: how long a shutdown takes that has a deadline and a held loop."""
    for mode in ("drain", "cancel", "abort"):
        with ThreadPoolExecutor(SHUTDOWNS) as pool:
            took = list(pool.map(_shutdown, [mode] * TIMES))
        what = f'L4: shutdown("{mode}", deadline={DEADLINE:g}) with a held loop'
        yield _found(what, DEADLINE + SHUTDOWN_GRACE, took)


def refusals() -> Job:
    """B1, B3, L2: how long it takes to be refused."""
    held = Held(queue_size=1)
    calls = held.rt.options(full="fail")
    calls.submit(int)
    took = [_took(gilscope.QueueFull, lambda: calls.submit(int)) for _ in range(1000)]
    held.let_go()
    yield _found("B1: QueueFull", 0, took)
    with gilscope.PyRuntime() as rt:
        wrong = gilscope.WrongThread
        took = [rt.call(_took, wrong, lambda: rt.call(int)) for _ in range(1000)]
    yield _found("B3: WrongThread on the loop thread", 0, took)
    took = [_took(gilscope.RuntimeStopped, lambda: rt.call(int)) for _ in range(1000)]
    yield _found("L2: RuntimeStopped after a shutdown", 0, took)


_BEGIN = """
import asyncio, operator, threading, time, gilscope
rt, started, never = gilscope.py_runtime(), threading.Lock(), threading.Lock()
assert started.acquire() and never.acquire()
"""
_AWAITS = """
async def call():
    try:
        started.release()
        await asyncio.Event().wait()
    finally:
        await asyncio.Event().wait()
rt.submit(call)
"""
_PYTHON = """
def call():
    started.release()
    while True:
        time.sleep(0.001)
rt.submit(call)
"""
_C = """
rt.submit(list, map(operator.call, [started.release, never.acquire]))
"""
_END = """
started.acquire()
print(time.monotonic())
"""


def _exit(program: str) -> float:
    command = [sys.executable, "-c", _BEGIN + program + _END]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=HUNG, check=True)
    return time.monotonic() - float(done.stdout)  # one clock for all processes


def exits() -> Job:
    """L7: how long a process takes to exit after its last line."""
    for what, bound, program in (
        ("calls whose cleanup never ends", EXIT_DEADLINE, _AWAITS),
        ("the loop held by Python code", EXIT_HELD, _PYTHON),
        ("the loop held in C", EXIT_HELD, _C),
    ):
        with ThreadPoolExecutor(EXITS) as pool:
            took = list(pool.map(_exit, [program] * TIMES))
        yield _found(f"L7: exit of a process with {what}", bound, took)


def bounds() -> Job:
    """All of them."""
    for part in (deadlines, shutdowns, refusals, exits):
        yield from part()
