"""Shutdown: every caller gets an outcome, in bounded time, from wherever it is asked for."""

from __future__ import annotations

import asyncio
import gc
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"
MODES = ["drain", "cancel", "abort"]


async def echo(x: object = None) -> object:
    await asyncio.sleep(0)
    return x


def outcome_of(future: Any) -> str:
    error = future.exception(10)
    return "ok" if error is None else f"{type(error).__name__} {getattr(error, 'by', '')}".strip()


@pytest.mark.parametrize("mode", MODES)
def test_l2_a_submit_after_shutdown_fails_at_once(mode: str) -> None:
    arrived: list[gilscope.Outcome[object]] = []
    rt = gilscope.PyRuntime("gone")
    rt.call(echo)
    rt.shutdown(mode, deadline=10)  # type: ignore[arg-type]
    assert rt.is_stopped
    with pytest.raises(gilscope.RuntimeStopped, match="shut down"):
        rt.submit(echo)
    with pytest.raises(gilscope.RuntimeStopped):
        rt.call(echo)
    with pytest.raises(gilscope.RuntimeStopped):
        asyncio.run(rt.call_async(echo))
    with pytest.raises(gilscope.RuntimeStopped):
        rt.submit_callback(arrived.append, echo)
    assert len(arrived) <= 1


@pytest.mark.parametrize("kind", ["future", "oneshot", "channel", "closure", "python", "discard"])
def test_l2_from_rust_with_every_callback(ext: ModuleType, kind: str) -> None:
    runtime = ext.Runtime()
    runtime.shutdown("cancel", 10)
    sent = ext.send(kind, echo, runtime=runtime)
    arrived = sent.wait()
    if kind == "future":
        assert [type(what) for _, what in arrived] == [gilscope.RuntimeStopped]
    else:
        assert type(sent.refused) is gilscope.RuntimeStopped
        assert [type(what) for _, what in arrived] in ([], [gilscope.RuntimeStopped])


@pytest.mark.parametrize("mode", MODES)
def test_l4_everybody_gets_an_outcome(mode: str, gate: Any) -> None:
    with gilscope.PyRuntime("ends", max_in_flight=1) as rt:
        running = rt.submit(gate)
        assert gate.started.wait(10)
        queued = [rt.submit(echo, i) for i in range(5)]
        if mode == "drain":
            threading.Timer(0.05, gate.open).start()
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
    assert not report["joined"]
    assert [outcome_of(future), outcome_of(queued)] == ["RuntimeStopped"] * 2
    release.set()
    assert rt.shutdown(mode, deadline=10)["joined"]  # type: ignore[arg-type]


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


def test_l5_a_loop_that_closes_while_rust_completes(
    rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    before = rt.stats()["loop_closed"]
    noise: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: noise.append(context["message"]))

    async def start() -> None:
        held.append(loop.create_task(gilscope.rust.sleep(0.5)))
        await asyncio.sleep(0)

    held: list[Any] = []
    loop.run_until_complete(start())
    loop.close()
    asyncio.run(gilscope.rust.sleep(0.8))
    assert not held[0].done()
    del loop, held[:]
    eventually(lambda: gc.collect() and rt.stats()["loop_closed"] == before + 1)
    assert set(noise) <= {"Task was destroyed but it is pending!"}
    assert rt.call(echo, 1) == 1


def test_l2_a_thread_with_the_dead_loop_threads_identity() -> None:
    came: list[tuple[bool, object, bool]] = []

    def use(rt: gilscope.PyRuntime, dead: object) -> None:
        try:
            rt.call(echo)
        except gilscope.GilscopeError as error:
            joined = rt.shutdown("cancel", deadline=10)["joined"]
            came.append((threading.get_ident() == dead, type(error), joined))

    for _ in range(20):
        rt = gilscope.PyRuntime("dead")
        dead = rt.call(threading.get_ident)
        rt.shutdown("cancel", deadline=10)
        thread = threading.Thread(target=use, args=(rt, dead))  # glibc gives it the same identity
        thread.start()
        thread.join(10)
    assert any(same for same, _, _ in came)
    assert [what for _, *what in came] == [[gilscope.RuntimeStopped, True]] * 20
