"""Forks, signals, exits with live threads, subinterpreters: each in a process of its own."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

FORK = """
import asyncio, os, sys, warnings
import gilscope

warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of fork beside threads

async def double(x):
    await gilscope.rust.sleep(0.001)
    return 2 * x

def forked(body):
    "Run `body` in a forked child; fail if it does."
    child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        except BaseException:
            import traceback
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""


def test_l6_handles_from_before_a_fork_say_so_and_a_fresh_one_works(
    script: Callable[..., str],
) -> None:
    code = """
    default, own = gilscope.py_runtime(), gilscope.PyRuntime("own")
    assert [default.call(double, 1), own.call(double, 2)] == [2, 4]

    def child():
        for old in (default, own):
            for way in (old.call, old.submit):
                try:
                    way(double, 1)
                except gilscope.RuntimeStopped as error:
                    assert "fork" in str(error), error
                else:
                    raise AssertionError("the old handle took a call")
        fresh = gilscope.py_runtime()
        assert fresh.id != default.id
        assert fresh.call(double, 21) == 42
        with gilscope.PyRuntime("another") as another:
            assert another.call(double, 4) == 8
        print("child")

    forked(child)
    assert default is gilscope.py_runtime()
    assert [default.call(double, 3), own.call(double, 4)] == [6, 8]
    print("parent")
    """
    assert script(FORK + textwrap.dedent(code)) == "child\nparent\n"


def test_l6_a_fork_with_calls_in_flight_leaves_the_parents_alone(
    script: Callable[..., str],
) -> None:
    code = """
    rt = gilscope.py_runtime()

    async def slow(x):
        await asyncio.sleep(0.3)
        return x

    running = [rt.submit(slow, i) for i in range(20)]
    forked(lambda: gilscope.py_runtime().call(double, 1))
    forked(lambda: forked(lambda: gilscope.py_runtime().call(double, 1)))
    assert [future.result(10) for future in running] == list(range(20))
    print("parent")
    """
    assert script(FORK + textwrap.dedent(code)) == "parent\n"


def test_o6_spans_close_in_the_child_and_in_the_parent(script: Callable[..., str]) -> None:
    code = """
    rt, running = gilscope.py_runtime(), []

    async def slow():
        running.append(1)
        await asyncio.sleep(0.3)

    def child():
        assert rt.in_flight() == [], "the parent's calls are not ours"
        with gilscope.trace() as trace:
            fresh = gilscope.py_runtime()
            assert [fresh.call(double, i) for i in range(5)] == [0, 2, 4, 6, 8]
            fresh.shutdown("drain", deadline=10)
        assert len([span for span in trace.spans if span["span"] == "call"]) == 5
        assert rt.in_flight() == []

    with gilscope.trace() as trace:
        future = rt.submit(slow)
        while not running:
            rt.call(double, 1)
        forked(child)
        future.result(10)
        rt.shutdown("drain", deadline=10)
    calls = [span["name"] for span in trace.spans if span["span"] == "call"]
    assert calls.count("__main__.slow") == 1, calls
    assert rt.in_flight() == []
    """
    script(FORK + textwrap.dedent(code))
