"""Shutdown: every caller gets an outcome, in bounded time, from wherever it is asked for."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    pass

Eventually = "Callable[[Callable[[], object]], None]"
MODES = ["drain", "cancel", "abort"]


async def echo(x: object = None) -> object:
    await asyncio.sleep(0)
    return x


def outcome_of(future: Any) -> str:
    error = future.exception(10)
    return "ok" if error is None else f"{type(error).__name__} {getattr(error, 'by', '')}".strip()


@pytest.mark.parametrize("mode", MODES)
def test_l4_everybody_gets_an_outcome(mode: str, gate: Any) -> None:
    with gilscope.PyRuntime("ends", max_in_flight=1) as rt:
        running = rt.submit(gate)
        assert gate.started.wait(10)
        queued = [rt.submit(echo, i) for i in range(5)]

        def open_once_it_stops() -> None:
            while not rt.is_stopped:
                time.sleep(0.01)
            gate.open()

        if mode == "drain":
            threading.Thread(target=open_once_it_stops).start()
        report = rt.shutdown(mode, deadline=10)  # type: ignore[arg-type]
        assert report["joined"]
        assert report["abandoned"] == 0
        assert report["pending"] >= 1
    expected = {
        "drain": ["ok"] + ["ok"] * 5,
        "cancel": ["CallCancelled shutdown"] + ["RuntimeStopped"] * 5,
        "abort": ["RuntimeStopped"] + ["RuntimeStopped"] * 5,
    }
    assert [outcome_of(future) for future in [running, *queued]] == expected[mode]


@pytest.mark.parametrize("mode", MODES)
def test_l4_bounded_though_cleanup_never_ends(mode: str) -> None:
    started = threading.Event()

    async def stubborn() -> None:
        started.set()
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                continue

    rt = gilscope.PyRuntime("stubborn")
    future = rt.submit(stubborn)
    assert started.wait(10)
    report = rt.shutdown(mode, deadline=0.1)  # type: ignore[arg-type]
    assert outcome_of(future) in ("RuntimeStopped", "CallCancelled shutdown")
    assert report["pending"] == 1


@pytest.mark.parametrize("mode", MODES)
def test_l4_bounded_though_python_holds_the_loop(mode: str) -> None:
    started, release = threading.Event(), threading.Event()

    def holds() -> None:
        started.set()
        release.wait(30)

    rt = gilscope.PyRuntime("held")
    future, queued = rt.submit(holds), rt.submit(echo)
    assert started.wait(10)
    report = rt.shutdown(mode, deadline=0.1)  # type: ignore[arg-type]
    assert report == {"pending": 2, "abandoned": 2, "joined": False}
    assert [outcome_of(future), outcome_of(queued)] == ["RuntimeStopped"] * 2
    release.set()
    assert rt.shutdown(mode, deadline=10)["joined"]  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_l4_detached_calls_end_as_others_and_children_left_behind_are_cancelled(mode: str) -> None:
    ends: list[str] = []
    waiting = threading.Semaphore(0)
    kept: list[asyncio.Task[None]] = []

    async def waits(name: str, event: asyncio.Event) -> None:
        waiting.release()
        try:
            await event.wait()
            ends.append(f"{name} returned")
        except asyncio.CancelledError:
            ends.append(f"{name} cancelled")

    async def leaves_a_child() -> None:
        kept.append(asyncio.create_task(waits("child", asyncio.Event())))

    async def goes_away() -> None:
        caller = asyncio.create_task(calls.call_async(waits, "detached", event))
        await asyncio.to_thread(waiting.acquire)
        caller.cancel()
        await asyncio.wait([caller])

    rt = gilscope.PyRuntime("detached")
    calls = rt.options(on_drop="detach")
    event = rt.call(asyncio.Event)
    rt.call(leaves_a_child)
    assert waiting.acquire(timeout=10)
    asyncio.run(goes_away())
    if mode == "drain":
        rt.submit(event.set)
    assert rt.shutdown(mode, deadline=10)["joined"]  # type: ignore[arg-type]
    how = "returned" if mode == "drain" else "cancelled"
    assert sorted(ends) == ["child cancelled", f"detached {how}"]


def test_l4_idempotent_and_from_several_threads(gate: Any) -> None:
    rt = gilscope.PyRuntime("twice")
    future = rt.submit(gate)
    assert gate.started.wait(10)
    reports: list[dict[str, Any]] = []
    threads = [
        threading.Thread(target=lambda mode=mode: reports.append(rt.shutdown(mode, deadline=10)))
        for mode in (*MODES, *MODES)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert [report["joined"] for report in reports] == [True] * 6
    assert outcome_of(future) in ("CallCancelled shutdown", "RuntimeStopped")
    assert rt.shutdown("drain", deadline=1) == {"pending": 0, "abandoned": 0, "joined": True}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("where", ["coroutine", "callback"])
def test_l4_from_inside_it_only_begins(mode: str, where: str, eventually: Eventually) -> None:
    rt = gilscope.PyRuntime("inside")
    reports: list[dict[str, Any]] = []

    async def inside() -> None:
        reports.append(rt.shutdown(mode, deadline=10))  # type: ignore[arg-type]

    if where == "coroutine":
        assert outcome_of(rt.submit(inside)) in ("ok", "CallCancelled shutdown", "RuntimeStopped")
    else:
        rt.submit_callback(lambda _: reports.append(rt.shutdown(mode)), echo)  # type: ignore[arg-type]
    eventually(lambda: reports)
    assert not reports[0]["joined"]
    assert rt.shutdown(mode, deadline=10)["joined"]  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", MODES)
def test_l4_from_inside_a_callback_with_others_in_flight(
    mode: str, gate: Any, eventually: Eventually
) -> None:
    rt = gilscope.PyRuntime("inside", max_in_flight=4)
    reports: list[dict[str, Any]] = []
    told: list[str] = []

    def tell(outcome: gilscope.Outcome[object]) -> None:
        error = outcome.exception()
        told.append("ok" if error is None else type(error).__name__)

    def blocked() -> None:
        try:
            rt.call(gate)
            told.append("ok")
        except BaseException as error:
            told.append(type(error).__name__)

    def shut(_: object) -> None:
        reports.append(rt.shutdown(mode, deadline=10))  # type: ignore[arg-type]

    running = rt.submit(gate)
    rt.submit_callback(tell, gate)
    thread = threading.Thread(target=blocked)
    thread.start()
    eventually(lambda: len(rt.in_flight()) == 3)  # the fourth place is for the one that shuts
    first = rt.submit(gate)  # takes it, and the others wait in the queue
    rt.submit_callback(shut, echo)
    queued = [rt.submit(gate) for _ in range(5)]
    rt.submit_callback(tell, echo)
    eventually(lambda: len(rt.in_flight()) == 4)
    first.cancel()
    eventually(lambda: reports)
    if mode == "drain":
        gate.open()
    thread.join(30)
    assert not thread.is_alive()
    assert rt.shutdown(mode, deadline=10)["joined"]  # type: ignore[arg-type]
    assert not reports[0]["joined"]
    expected = {
        "drain": (["ok"] * 6, ["ok"] * 3),
        "cancel": (
            ["CallCancelled shutdown"] + ["RuntimeStopped"] * 5,
            ["CallCancelled"] * 2 + ["RuntimeStopped"],
        ),
        "abort": (["RuntimeStopped"] * 6, ["RuntimeStopped"] * 3),
    }
    assert [outcome_of(future) for future in [running, *queued]] == expected[mode][0]
    assert sorted(told) == sorted(expected[mode][1])
