"""Receivers that panic: wakers, closures, destructors of results. The loop thread lives on."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"
LIMIT = 10


async def same(value: object = None) -> object:
    await asyncio.sleep(0)
    return value


class Hold:
    """Holds the loop until it is told to let go, so that what follows ends in one batch."""

    def __init__(self, rt: gilscope.PyRuntime) -> None:
        self.started, self.release = threading.Event(), threading.Event()
        self.held = rt.submit(self)
        assert self.started.wait(LIMIT)

    def __call__(self) -> None:
        self.started.set()
        assert self.release.wait(60)

    def let_go(self) -> None:
        self.release.set()
        self.held.result(LIMIT)


def loop_thread(rt: gilscope.PyRuntime) -> int:
    return rt.call(threading.get_ident)


def check_alive(ext: ModuleType, rt: gilscope.PyRuntime, thread: int) -> None:
    """It is the same thread, for every kind of receiver, and nothing is open or queued."""
    assert loop_thread(rt) == thread
    for kind in ("future", "oneshot", "channel", "closure", "python"):
        assert ext.send(kind, same, kind).wait() == [("ok", kind)]
    assert rt.in_flight() == []
    assert not rt.is_stopped


# Who lets go of the result, and what is counted of that.
GONE = {
    "closure": "callback_failed",
    "discard": "callback_failed",
    "oneshot_detached": "callback_failed",
    "channel": "callback_failed",
    "future_detached": "undelivered",
}


@pytest.mark.parametrize("kind", GONE)
def test_e17_a_result_whose_destructor_panics_with_nobody_to_receive_it(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually, gate: Any, kind: str
) -> None:
    thread, before = loop_thread(default_rt), default_rt.stats()
    others = ("future", "oneshot", "channel", "closure", "python")
    with gilscope.trace() as trace:
        for _ in range(3):
            ext.touchy(kind, gate)
        beside = [ext.send(other, gate, other) for other in others]
        gate.open()
        assert [sent.wait() for sent in beside] == [[("ok", (other,))] for other in others]
        eventually(lambda: not default_rt.in_flight())
        check_alive(ext, default_rt, thread)
        calls = [s for s in trace.spans if s["span"] == "call" and s["name"].endswith("Gate")]
    assert [span["status"] for span in calls] == ["ok"] * 8
    counter = GONE[kind]
    assert default_rt.stats()[counter] == before[counter] + 3
    assert sum(counter in span.get("flags", []) for span in calls) == 3


def test_e17_a_result_whose_destructor_panics_after_the_deadline(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    thread, cancelled, returned = loop_thread(default_rt), threading.Event(), []

    async def late() -> object:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
        returned.append(1)
        return 1  # comes too late, and is let go of by the loop thread

    ext.touchy("discard", late, deadline=0.02)
    assert cancelled.wait(LIMIT)
    eventually(lambda: not default_rt.in_flight())
    assert returned == [1]
    check_alive(ext, default_rt, thread)


def test_e17_a_result_whose_destructor_panics_and_its_future_was_dropped(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    thread, started, returned = loop_thread(default_rt), threading.Semaphore(0), []

    async def keeps_on() -> object:
        started.release()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            returned.append(1)
        return 1

    for kind in ("future", "oneshot"):
        ext.touchy(kind, keeps_on, until=started.acquire)
    eventually(lambda: not default_rt.in_flight())
    assert returned == [1, 1]
    check_alive(ext, default_rt, thread)


def test_e17_a_waker_that_panics_loses_no_outcome(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    thread, hold = loop_thread(default_rt), Hold(default_rt)
    panics = [ext.watched("future", same, i, then="panic")[0] for i in range(5)]
    others = [ext.watched("future", same, i)[0] for i in range(5)]
    hold.let_go()
    for watched in (*panics, *others):
        assert len(watched.wait()) == 1
    # The outcome was there before the waker ran.
    assert [watched.poll() for watched in panics] == [(True, i) for i in range(5)]
    assert [watched.poll() for watched in others] == [(True, i) for i in range(5)]
    check_alive(ext, default_rt, thread)


def test_e17_a_waker_that_panics_when_its_call_fails(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any, eventually: Eventually
) -> None:
    thread, hold = loop_thread(default_rt), Hold(default_rt)
    cancelled = [ext.watched("future", gate, then="panic")[0] for _ in range(3)]
    expired = [ext.watched("future", gate, then="panic", deadline=0.02)[0] for _ in range(3)]
    assert all(watched.cancel() for watched in cancelled)
    for watched in expired:
        watched.wait()
    hold.let_go()
    for watched in (*cancelled, *expired):
        watched.wait()
    kinds = {type(watched.poll()[1]) for watched in cancelled}
    assert kinds == {gilscope.CallCancelled}
    kinds = {type(watched.poll()[1]) for watched in expired}
    assert kinds == {gilscope.DeadlineExceeded}
    assert not gate.started.is_set()
    check_alive(ext, default_rt, thread)


def test_e17_wakers_that_panic_while_they_wait_for_room(
    ext: ModuleType, gate: Any, eventually: Eventually
) -> None:
    runtime = ext.Runtime(queue_size=1, max_in_flight=1)
    ext.send("discard", gate, runtime=runtime)
    assert gate.started.wait(LIMIT)
    eventually(lambda: runtime.try_many(same, 1) == (1, 0))
    panics = [ext.watched("future", same, i, runtime=runtime, then="panic")[0] for i in range(3)]
    other = ext.send("future", same, 3, runtime=runtime)
    gate.open()
    assert other.wait() == [("ok", 3)]
    for i, watched in enumerate(panics):
        eventually(lambda i=i, watched=watched: watched.poll() == (True, i))  # type: ignore[misc]
        assert watched.attached
    assert runtime.shutdown("cancel", LIMIT) == (0, 0, True)


@pytest.mark.parametrize("mode", ["cancel", "abort"])
def test_e17_closures_and_wakers_that_panic_at_a_shutdown(
    ext: ModuleType, gate: Any, mode: str
) -> None:
    runtime = ext.Runtime(max_in_flight=1)
    running = [ext.watched(kind, gate, runtime=runtime, then="panic")[0] for kind in ("closure",)]
    assert gate.started.wait(LIMIT)
    queued = [
        ext.watched(kind, same, runtime=runtime, then="panic")[0]
        for kind in ("closure", "future", "closure")
    ]
    others = [ext.send(kind, same, runtime=runtime) for kind in ("future", "closure", "oneshot")]
    assert runtime.shutdown(mode, LIMIT)[2]
    for watched in (*running, *queued):
        assert len(watched.wait()) == 1
    for sent in others:
        assert [type(error) for _, error in sent.wait()] == [gilscope.RuntimeStopped]
    assert type(queued[1].poll()[1]) is gilscope.RuntimeStopped


def test_e17_closures_that_panic_with_their_calls_deadline(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any, eventually: Eventually
) -> None:
    thread = loop_thread(default_rt)
    watched = [ext.watched("closure", gate, then="panic", deadline=0.02)[0] for _ in range(5)]
    for each in watched:
        assert each.wait() == [False]
        ((ok, error),) = each.outcomes
        assert not ok
        assert type(error) is gilscope.DeadlineExceeded
    eventually(lambda: not default_rt.in_flight())
    check_alive(ext, default_rt, thread)
    call = ext.undriven("closure", gate, deadline=0.02)
    eventually(lambda: call.arrived == 1)
