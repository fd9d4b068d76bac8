"""What a runtime leaves of interrupts in the interpreter: nothing, or traced functions may hang."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

TRACED = """
import sys

def traced():
    lines = []

    def trace(frame, event, arg):
        lines.append(event)
        return trace

    def function():
        return sum(number for number in range(3))

    sys.settrace(trace)
    result = function()
    sys.settrace(None)
    assert "line" in lines
    return result
"""


@pytest.mark.parametrize("mode", ["drain", "cancel", "abort"])
def test_a_function_can_be_traced_after_a_runtime(script: Callable[..., str], mode: str) -> None:
    code = """
import asyncio, sys, gilscope

with gilscope.PyRuntime() as rt:
    assert rt.call(asyncio.sleep, 0, 1) == 1
    assert rt.shutdown(sys.argv[1], deadline=10)["joined"]
print(traced())
"""
    assert script(TRACED + code, mode) == "3\n"


def test_l7_an_interrupt_that_hits_nobody_is_gone(script: Callable[..., str]) -> None:
    code = """
import atexit, operator, threading

def last():  # after gilscope's own handler, which has interrupted the loop
    assert thread.is_alive()
    release.release()  # the loop comes back from C to Rust, not to Python code that is to end
    thread.join(20)
    assert not thread.is_alive()
    print(traced())

atexit.register(last)
import gilscope

rt, started, release = gilscope.PyRuntime(), threading.Lock(), threading.Lock()
thread = rt.call(threading.current_thread)
assert started.acquire() and release.acquire()
rt.submit(list, map(operator.call, [started.release, release.acquire]))  # holds the loop, in C
assert started.acquire(timeout=20)
print("exits")
"""
    assert script(TRACED + code) == "exits\n3\n"
