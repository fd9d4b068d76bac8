"""Who woke whom, through what asyncio puts between them: `gather`, task groups and their like."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import ModuleType
from typing import Any

import pytest

import gilscope

LIMIT = 30


async def child(event: asyncio.Event) -> str:
    await event.wait()
    return "done"


async def setter(event: asyncio.Event) -> None:
    await asyncio.sleep(0)
    event.set()


async def gathers(one: Awaitable[str]) -> None:
    await asyncio.gather(one)


async def gathers_twice(one: Awaitable[str]) -> None:
    await asyncio.gather(asyncio.gather(one))


async def groups(one: Any) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(one)


async def waits(one: Any) -> None:
    await asyncio.wait([asyncio.create_task(one)])


async def waits_for(one: Awaitable[str]) -> None:
    await asyncio.wait_for(one, LIMIT)


async def as_completed(one: Awaitable[str]) -> None:
    for each in asyncio.as_completed([one]):
        await each


async def shields(one: Awaitable[str]) -> None:
    await asyncio.shield(one)


async def has_a_callback(one: Any) -> None:
    """Of a user: a function, a method and one that is neither wakes nobody or all the same."""
    done = asyncio.Event()
    task = asyncio.create_task(one)
    task.add_done_callback(lambda _: done.set())
    await done.wait()


@pytest.mark.parametrize(
    "fan_in",
    [
        gathers,
        gathers_twice,
        groups,
        waits,
        waits_for,
        as_completed,
        shields,
        has_a_callback,
    ],
)
def test_who_ended_in_it_woke_who_waits_for_it(
    rt: gilscope.PyRuntime, fan_in: Callable[[Any], Awaitable[None]]
) -> None:
    async def waiter(event: asyncio.Event) -> None:
        await fan_in(child(event))

    async def both() -> None:
        event = asyncio.Event()
        one = asyncio.create_task(waiter(event))
        other = asyncio.create_task(setter(event))
        await one
        await other

    with gilscope.trace() as trace:
        rt.call(both)
        spans = trace.spans
    found = [span for span in spans if span["span"] == "task"]
    tasks = {span["name"].rpartition(".")[2]: span["id"] for span in found}
    polls: dict[str, list[dict[str, Any]]] = {name: [] for name in tasks}
    for span in spans:
        for name, task in tasks.items():
            if span["span"] == "poll" and span["parent"] == task:
                polls[name].append(span)
    # The setter's second poll woke the child, whose last poll woke who waits for it.
    below = polls.get("child", polls["waiter"])
    assert below[-1]["woken_by"] == polls["setter"][1]["id"]
    if below is not polls["waiter"]:
        assert polls["waiter"][-1]["woken_by"] == below[-1]["id"]


@pytest.mark.parametrize("fan_in", [gathers, waits_for, None])
def test_a_rust_future_woke_who_awaits_it_in_its_last_poll(
    rt: gilscope.PyRuntime, fan_in: Callable[[Any], Awaitable[None]] | None
) -> None:
    async def waiter() -> None:
        if fan_in is None:
            await gilscope.rust.sleep(0.001)
        else:
            await fan_in(gilscope.rust.sleep(0.001))

    with gilscope.trace() as trace:
        rt.call(waiter)
        spans = trace.spans
    (call,) = (span for span in spans if span["span"] == "call")
    rust = [span for span in spans if span["span"] == "rust.poll"]
    polls = [span for span in spans if span["span"] == "poll"]
    (woken,) = (span for span in polls if span.get("woken_by") == rust[-1]["id"])
    assert woken["poll"] == 2
    # Of the task that awaits the future, which ended then, and woke the call.
    last = [span for span in polls if span["parent"] == call["id"]][-1]
    assert woken is last or last["woken_by"] == woken["id"]
    assert woken["start_ns"] >= rust[-1]["start_ns"]


@pytest.mark.parametrize("fan_in", [gathers, None])
def test_a_rust_future_woke_who_awaits_it_when_it_was_ready_however_long_the_gil_was_held(
    default_rt: gilscope.PyRuntime, ext: ModuleType, fan_in: Callable[[Any], Awaitable[None]] | None
) -> None:
    async def waiter() -> None:
        future = gilscope.rust.sleep(0.2)
        await (future if fan_in is None else fan_in(future))

    with gilscope.trace() as trace:
        call = default_rt.submit(waiter)
        while not any(it["phase"] == "suspended" for it in gilscope._native.in_flight()):
            time.sleep(0.001)
        # It is ready meanwhile, and the loop cannot hear of it.
        ext.ticks_while_gil_held(print, 0.6, 0)
        call.result(LIMIT)
        spans = trace.spans
    ready = [span for span in spans if span["span"] == "rust.poll"][-1]
    (woken,) = (span for span in spans if span.get("woken_by") == ready["id"])
    (suspended,) = (
        span
        for span in spans
        if (span["span"], span["parent"], span.get("poll"))
        == ("suspended", woken["parent"], woken["poll"])
    )
    assert suspended["wake_ns"] == ready["start_ns"] + ready["dur_ns"]
    assert suspended["start_ns"] <= suspended["wake_ns"] <= woken["start_ns"]


def test_a_callback_that_raises_is_named_as_ever(rt: gilscope.PyRuntime) -> None:
    said: list[str] = []

    class Owner:
        def method(self, _: object) -> None:
            raise ValueError("method")

    def function(_: object) -> None:
        raise ValueError("function")

    async def calls() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context["message"]))
        for callback in (function, Owner().method):
            task = asyncio.create_task(asyncio.sleep(0))
            task.add_done_callback(callback)
            await task
        await asyncio.sleep(0)
        loop.set_exception_handler(None)

    rt.call(calls)
    alone, said = said, []
    with gilscope.trace():
        rt.call(calls)
    without = [text.partition("(")[0] for text in alone]
    assert len(said) == 2
    assert [text.partition("(")[0] for text in said] == without
    assert [" at " in text for text in said] == [" at " in text for text in alone]


def test_what_is_told_is_told_the_same(rt: gilscope.PyRuntime) -> None:
    got: list[object] = []

    async def calls() -> tuple[asyncio.Task[None], str]:
        task = asyncio.create_task(asyncio.sleep(0))
        task.add_done_callback(got.append)
        task.add_done_callback(lambda it: got.append(it))
        await task
        await asyncio.sleep(0)
        return task, repr(task)

    with gilscope.trace():
        task, _ = rt.call(calls)
    assert got == [task, task]
