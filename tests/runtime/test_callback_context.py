"""A Python callback runs on the loop thread, in the Context of its call."""

from __future__ import annotations

import asyncio
import contextvars
import queue
import threading
from typing import Any

import pytest

import gilscope

LIMIT = 30
VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="default")


async def write(value: str) -> None:
    VAR.set(value)
    await asyncio.sleep(0.001)


def refuse() -> None:
    raise ValueError


def seen_by_callback(rt: gilscope.PyRuntime, fun: Any, *args: Any, **options: Any) -> list[Any]:
    """What a callback met; it changes its Context too."""
    told: queue.Queue[list[Any]] = queue.Queue()

    def callback(outcome: gilscope.Outcome[Any]) -> None:
        told.put([VAR.get(), threading.get_ident(), type(outcome.exception())])
        VAR.set("set by the callback")

    rt.options(**options).submit_callback(callback, fun, *args)
    return told.get(timeout=LIMIT)


CASES: dict[str, tuple[Any, ...]] = {
    "returns": ("caller's", type(None), {}, asyncio.sleep, 0.001),
    "sets": ("callee's", type(None), {}, write, "callee's"),
    "immediate": ("caller's", type(None), {}, VAR.get),
    "raises at once": ("caller's", ValueError, {}, refuse),
    "deadline": ("caller's", gilscope.DeadlineExceeded, {"deadline": 0.01}, asyncio.sleep, LIMIT),
}


@pytest.mark.parametrize("case", CASES)
def test_v1_a_callback_runs_in_the_calls_context(rt: gilscope.PyRuntime, case: str) -> None:
    value, error, options, *call = CASES[case]
    loop_thread = rt.call(threading.get_ident)

    def caller() -> None:
        VAR.set("caller's")
        assert seen_by_callback(rt, *call, **options) == [value, loop_thread, error]
        assert VAR.get() == "caller's"

    contextvars.Context().run(caller)
    assert contextvars.Context().run(rt.call, VAR.get) == "default"


def test_v1_a_callback_changes_the_context_that_was_given(rt: gilscope.PyRuntime) -> None:
    context = contextvars.Context()
    context.run(VAR.set, "given")
    assert seen_by_callback(rt, write, "callee's", context=context)[0] == "callee's"
    rt.call(int)
    assert context[VAR] == "set by the callback"
