"""L12: whatever the loop, it is stopped, shut down and told of errors as any other."""

from __future__ import annotations

import asyncio
import gc
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Bounded, Kind


def test_l12_stopping_the_loop_ends_nothing(on: Bounded) -> None:
    async def stops() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.001)
        return "went on"

    assert on(stops) == "went on"
    assert on(asyncio.sleep, 0, "alive") == "alive"


@pytest.mark.parametrize("mode", ["drain", "cancel", "abort"])
def test_l12_a_shutdown_gives_every_caller_an_outcome(
    kind: Kind, make: Callable[..., Bounded], mode: Any
) -> None:
    runtime = make(**kind.options).runtime
    started = threading.Semaphore(0)
    release = runtime.call(asyncio.Event)

    async def waits() -> str:
        started.release()
        await release.wait()
        return "ended"

    futures = [runtime.submit(waits) for _ in range(20)]
    for _ in futures:
        assert started.acquire(timeout=30)
    if mode == "drain":
        runtime.submit(release.set)
    assert runtime.shutdown(mode, deadline=20)["joined"]
    outcomes = [future.exception(timeout=30) or future.result() for future in futures]
    if mode == "drain":
        assert outcomes == ["ended"] * 20
    elif mode == "cancel":
        assert [getattr(outcome, "by", outcome) for outcome in outcomes] == ["shutdown"] * 20
    else:
        expected = (gilscope.RuntimeStopped, gilscope.CallCancelled)
        assert all(isinstance(outcome, expected) for outcome in outcomes), outcomes
    with pytest.raises(gilscope.RuntimeStopped):
        runtime.call(waits)


def test_l12_hooks_run_around_the_calls(kind: Kind) -> None:
    steps: list[str] = []

    async def step(name: str) -> None:
        await asyncio.sleep(0)
        steps.append(name)

    with gilscope.PyRuntime(
        on_start=partial(step, "start"), on_stop=partial(step, "stop"), **kind.options
    ) as runtime:
        runtime.options(deadline=30).call(step, "call")
    assert steps == ["start", "call", "stop"]


def test_l12_a_callback_that_raises_goes_to_the_exception_handler(
    kind: Kind, make: Callable[..., Bounded]
) -> None:
    on = make(**kind.options)
    seen: list[dict[str, Any]] = []
    told = threading.Event()

    async def listen() -> None:
        def note(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            seen.append(context)
            told.set()

        asyncio.get_running_loop().set_exception_handler(note)

    def broken(_: object) -> None:
        raise ValueError("callback")

    on(listen)
    on.runtime.submit_callback(broken, asyncio.sleep, 0)
    assert told.wait(30)
    assert [str(context["exception"]) for context in seen] == ["callback"]
    assert on(asyncio.sleep, 0, "alive") == "alive"


def test_l12_a_task_nobody_awaits_is_reported_to_the_exception_handler(
    kind: Kind, make: Callable[..., Bounded]
) -> None:
    on = make(**kind.options)
    seen: list[dict[str, Any]] = []

    async def fails() -> None:
        raise ValueError("nobody awaits me")

    async def body() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: seen.append(context))
        task = asyncio.create_task(fails())
        await asyncio.sleep(0.001)
        del task
        gc.collect()  # an eager task is part of a cycle

    on(body)
    assert [str(context["exception"]) for context in seen] == ["nobody awaits me"]
