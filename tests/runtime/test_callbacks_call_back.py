"""Callbacks that call again: later, deeply, or blocking."""

from __future__ import annotations

import asyncio
import queue
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"


async def ok() -> int:
    await asyncio.sleep(0)
    return 1


def test_c6_a_callback_that_calls_again_10000_deep(rt: gilscope.PyRuntime) -> None:
    depth, done = [0], threading.Event()

    def callback(outcome: gilscope.Outcome[int]) -> None:
        depth[0] += outcome.result()
        if depth[0] == 10_000:
            done.set()
        else:
            rt.submit_callback(callback, ok)

    rt.submit_callback(callback, ok)
    assert done.wait(60)
    assert depth == [10_000]


def test_c6_it_starts_after_what_is_already_queued(rt: gilscope.PyRuntime, gate: Any) -> None:
    order: list[str] = []
    first_done = threading.Event()

    def callback(outcome: object) -> None:
        last.append(rt.submit(order.append, "from the callback"))
        first_done.set()

    last: list[Any] = []
    held = threading.Event()
    rt.submit_callback(callback, held.wait, 10)  # holds the loop until three more are queued
    queued = [rt.submit(order.append, f"queued {i}") for i in range(3)]
    held.set()
    assert first_done.wait(10)
    for future in [*queued, *last]:
        future.result(10)
    assert order == ["queued 0", "queued 1", "queued 2", "from the callback"]


@pytest.mark.parametrize("way", ["call", "call_blocking", "result", "exception", "map"])
def test_c7_a_callback_that_blocks_on_a_call_gets_wrong_thread(
    ext: ModuleType, default_rt: gilscope.PyRuntime, way: str
) -> None:
    caught: list[BaseException] = []
    done = threading.Event()
    ways: dict[str, Callable[[], object]] = {
        "call": lambda: default_rt.call(ok),
        "call_blocking": lambda: ext.call_blocking(ok),
        "result": lambda: default_rt.submit(ok).result(),
        "exception": lambda: default_rt.submit(ok).exception(),
        "map": lambda: list(default_rt.map(lambda _: ok(), range(3))),
    }

    def callback(outcome: object) -> None:
        try:
            ways[way]()
        except gilscope.WrongThread as error:
            caught.append(error)
        finally:
            done.set()

    default_rt.submit_callback(callback, ok)
    assert done.wait(10)
    assert len(caught) == 1
    assert default_rt.call(ok) == 1


def test_c7_a_callback_may_ask_a_call_that_has_ended(rt: gilscope.PyRuntime) -> None:
    ended, results = rt.submit(ok), queue.Queue[int]()
    assert ended.result(10) == 1
    rt.submit_callback(lambda outcome: results.put(ended.result()), ok)
    assert results.get(timeout=10) == 1
