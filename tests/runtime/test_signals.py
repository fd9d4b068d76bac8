"""Signals while calls run: in a process of its own."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SIGNAL = """
import asyncio, gilscope, os, signal, threading

gilscope.stats()
import gilscope_test_ext as ext

rt = gilscope.py_runtime()
main, others = threading.Event(), threading.Event()
cancelled = threading.Event()

async def for_ever():
    main.set()
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        cancelled.set()
        raise

async def other():
    others.set()
    await asyncio.sleep(0.5)
    return "went on"

def interrupt():
    main.wait(10)
    os.kill(os.getpid(), signal.SIGINT)
"""


def test_l9_sigint_cancels_the_main_threads_call_only(script: Callable[..., str]) -> None:
    code = """
    running, rusts = rt.submit(other), ext.send("closure", other)
    assert others.wait(10)
    threading.Thread(target=interrupt).start()
    try:
        rt.call(for_ever)
    except KeyboardInterrupt:
        print("interrupted")
    assert cancelled.wait(10)
    assert running.result(10) == "went on"
    assert rusts.wait() == [("ok", "went on")]
    assert rt.call(other) == "went on"
    """
    assert script(SIGNAL + textwrap.dedent(code)) == "interrupted\n"


def test_l9_sigint_ends_the_wait_for_a_shutdown_which_goes_on(script: Callable[..., str]) -> None:
    code = """
    def interrupt_shutdown():
        while True:
            try:
                rt.submit(str).result(10)
            except gilscope.RuntimeStopped:
                break
        os.kill(os.getpid(), signal.SIGINT)

    future = rt.submit(for_ever)
    threading.Thread(target=interrupt_shutdown).start()
    try:
        rt.shutdown("drain")
    except KeyboardInterrupt:
        print("interrupted")
    assert not future.done()
    try:
        rt.submit(other)
    except gilscope.RuntimeStopped:
        print("it goes on")
    print(rt.shutdown("cancel", deadline=10)["joined"])
    """
    expected = "interrupted\nit goes on\nTrue\n"
    assert script(SIGNAL + textwrap.dedent(code)) == expected


def test_l9_sigint_that_comes_while_rust_wakes_a_task_is_raised(
    script: Callable[..., str],
) -> None:
    code = """
import asyncio, gilscope, signal

signal.signal(signal.SIGINT, signal.default_int_handler)

class Loop(asyncio.SelectorEventLoop):
    waits = False

    def call_soon(self, callback, *args, context=None):
        if self.waits and callback.__name__ == "task_wakeup":  # where a signal may be seen
            self.waits = False
            signal.raise_signal(signal.SIGINT)
        return super().call_soon(callback, *args, context=context)

async def awaits():
    loop.waits = True
    await gilscope.rust.sleep(0.01)

loop = Loop()
task = loop.create_task(awaits())
try:
    loop.run_until_complete(task)
except KeyboardInterrupt:
    print("interrupted")
task._log_destroy_pending = False  # as with a timer's wake, it has lost its own
loop.close()
"""
    assert script(code) == "interrupted\n"
