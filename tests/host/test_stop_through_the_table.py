"""A library stops the runtime that it was given: the handle is a façade, the runtime another's."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"
LIMIT = 10


async def same(value: object = None) -> object:
    await asyncio.sleep(0)
    return value


@pytest.fixture
def theirs(ext: ModuleType) -> Iterator[Any]:
    """The extension's handle on gilscope's default runtime."""
    ours = gilscope.py_runtime()
    handle = ext.Runtime.default()
    assert handle.id == ours.id
    yield handle
    assert ours.shutdown("abort", deadline=20)["joined"]


def check_stopped(ext: ModuleType, theirs: Any, ours: gilscope.PyRuntime) -> None:
    """Both handles say so and refuse, and the next `py_runtime()` of both is a fresh one."""
    assert theirs.is_stopped
    assert ours.is_stopped
    with pytest.raises(gilscope.RuntimeStopped):
        ext.call(same, runtime=theirs)
    with pytest.raises(gilscope.RuntimeStopped):
        theirs.try_many(same, 1)
    with pytest.raises(gilscope.RuntimeStopped):
        ours.call(same)
    for kind in ("future", "oneshot", "channel", "closure", "python", "discard"):
        sent = ext.send(kind, same, runtime=theirs, full="fail")
        told = [sent.refused] if sent.refused else [error for _, error in sent.wait()]
        assert [type(error) for error in told] == [gilscope.RuntimeStopped], kind
    assert theirs.shutdown("drain", LIMIT) == (0, 0, True), "once more does nothing"
    fresh = gilscope.py_runtime()
    assert fresh.id != theirs.id
    assert ext.runtime_id() == fresh.id
    assert ext.call(same, 3) == fresh.call(same, 3) == 3
    assert theirs.is_stopped
    assert not ext.Runtime.default().is_stopped
    assert fresh.shutdown("cancel", LIMIT)["joined"]


def test_l2_l17_an_idle_runtime_is_stopped_through_the_table(ext: ModuleType, theirs: Any) -> None:
    ours = gilscope.py_runtime()
    assert ext.call(same, 1, runtime=theirs) == 1
    assert not theirs.is_stopped
    assert theirs.shutdown("cancel", LIMIT) == (0, 0, True)
    check_stopped(ext, theirs, ours)


def test_l4_a_drain_lets_the_calls_of_both_end(
    ext: ModuleType, theirs: Any, gate: Any, eventually: Eventually
) -> None:
    ours = gilscope.py_runtime()
    of_theirs = ext.send("oneshot", gate, 1)
    assert gate.started.wait(LIMIT)
    of_ours = ours.submit(gate, 2)
    with ThreadPoolExecutor() as pool:
        report = pool.submit(theirs.shutdown, "drain", None)
        eventually(lambda: theirs.is_stopped)
        assert ours.is_stopped, "stopping counts as stopped"
        assert not report.done()
        gate.open()
        assert report.result(LIMIT) == (2, 0, True)
    assert of_theirs.wait() == [("ok", (1,))]
    assert of_ours.result(LIMIT) == (2,)
    check_stopped(ext, theirs, ours)


@pytest.mark.parametrize("mode", ["cancel", "abort"])
def test_l4_a_cancel_and_an_abort_end_the_calls_of_both(
    ext: ModuleType, theirs: Any, gate: Any, eventually: Eventually, mode: str
) -> None:
    ours = gilscope.py_runtime()
    of_ours, of_theirs = ours.submit(gate), ext.send("oneshot", gate)
    eventually(lambda: [row["phase"] for row in ours.in_flight()] == ["suspended"] * 2)
    assert theirs.shutdown(mode, LIMIT) == (2, 0, True)
    ((word, error),) = of_theirs.wait()
    assert word == "err"
    if mode == "cancel":
        assert error.by == "shutdown"
        assert type(of_ours.exception(LIMIT)) is gilscope.CallCancelled
    else:
        assert type(error) is gilscope.RuntimeStopped
        assert type(of_ours.exception(LIMIT)) is gilscope.RuntimeStopped
    assert gate.cancelled.wait(LIMIT)
    check_stopped(ext, theirs, ours)


def test_l4_a_deadline_frees_callers_while_the_loop_is_held(ext: ModuleType, theirs: Any) -> None:
    ours, started, release = gilscope.py_runtime(), threading.Event(), threading.Event()

    def holds() -> None:
        started.set()
        assert release.wait(60)

    held = ext.send("closure", holds)
    assert started.wait(LIMIT)
    queued = [ext.send(kind, same) for kind in ("future", "oneshot", "channel", "closure")]
    python = ext.send("python", same)
    pending, abandoned, joined = theirs.shutdown("cancel", 0)
    assert (pending, abandoned, joined) == (6, 6, False)
    for sent in (held, *queued):
        assert [type(error) for _, error in sent.wait()] == [gilscope.RuntimeStopped]
    release.set()
    assert theirs.shutdown("cancel", LIMIT)[2]
    # A Python callback needs the loop thread, or whoever takes its place when it has ended.
    assert [type(error) for _, error in python.arrived] == [gilscope.RuntimeStopped]
    check_stopped(ext, theirs, ours)


def test_l4_from_the_loop_thread_it_only_begins(
    ext: ModuleType, theirs: Any, eventually: Eventually
) -> None:
    ours = gilscope.py_runtime()

    async def stops() -> object:
        report = theirs.shutdown("drain", LIMIT)
        assert theirs.is_stopped
        await asyncio.sleep(0.001)
        return report

    assert ext.call(stops, runtime=theirs) == (1, 0, False)
    assert theirs.shutdown("drain", LIMIT)[2]
    check_stopped(ext, theirs, ours)


def test_l4_many_threads_stop_it_through_both_handles(
    ext: ModuleType, theirs: Any, gate: Any
) -> None:
    ours = gilscope.py_runtime()
    running = ext.send("oneshot", gate)
    assert gate.started.wait(LIMIT)
    barrier = threading.Barrier(8)

    def stop(number: int) -> bool:
        barrier.wait()
        if number % 2:
            return bool(theirs.shutdown("cancel", LIMIT)[2])
        return bool(ours.shutdown("cancel", LIMIT)["joined"])

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(stop, range(8))) == [True] * 8
    assert [type(error) for _, error in running.wait()] == [gilscope.CallCancelled]
    check_stopped(ext, theirs, ours)


def test_l16_a_facade_keeps_no_stopped_runtime_alive_for_others(
    ext: ModuleType, theirs: Any
) -> None:
    ours = gilscope.py_runtime()
    assert ours.shutdown("cancel", LIMIT)["joined"]
    assert theirs.is_stopped, "it was stopped by somebody else"
    check_stopped(ext, theirs, ours)
