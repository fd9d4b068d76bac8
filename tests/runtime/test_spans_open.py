"""Spans that are open: tasks of calls, and what is in flight."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    pass

Eventually = "Callable[[Callable[[], object]], None]"


async def ok() -> int:
    await asyncio.sleep(0)
    return 1


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


async def for_ever() -> None:
    await asyncio.Event().wait()


def calls_of(trace: gilscope.trace) -> list[dict[str, Any]]:
    return [s for s in trace.spans if s["span"] == "call" and s["name"] != "builtins.abs"]


def test_o6_tasks_close_with_their_calls(
    default_rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    async def parent() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(for_ever())
            group.create_task(fails())

    with gilscope.trace() as trace:
        with pytest.raises(ExceptionGroup):
            default_rt.call(parent)
        eventually(lambda: default_rt.call(abs, -1) and calls_of(trace))
        eventually(lambda: not default_rt.in_flight())
        tasks = [span for span in trace.spans if span["span"] == "task"]
    assert len(tasks) == 2
    assert {span["call"] for span in tasks} == {calls_of(trace)[0]["id"]}


def test_o6_in_flight_shows_what_is_open(default_rt: gilscope.PyRuntime, gate: Any) -> None:
    future = default_rt.submit(gate)
    assert gate.started.wait(10)
    default_rt.call(ok)
    (row,) = [row for row in default_rt.in_flight() if row["span"] == "call"]
    assert row["phase"] == "suspended"
    assert row["name"].endswith("Gate")
    gate.open()
    future.result(10)
