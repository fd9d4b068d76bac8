"""Closures and wakers of callers run without the GIL, on every path by which a call can end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"
KINDS = ["closure", "future"]
LIMIT = 10


async def same(value: object = None) -> object:
    await asyncio.sleep(0)
    return value


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


class Hold:
    """Holds a runtime's loop until it is told to let go."""

    def __init__(self) -> None:
        self.started, self.release = threading.Event(), threading.Event()

    def __call__(self) -> None:
        self.started.set()
        assert self.release.wait(60)


@pytest.fixture
def hold() -> Iterator[Hold]:
    held = Hold()
    yield held
    held.release.set()


def ended(watched: Any, kind: str) -> tuple[bool, Any]:
    """Wait for the call's end, and see to it that it was told once and without the GIL."""
    assert watched.wait() == [False]
    if kind == "future":
        outcome = watched.poll()
        assert outcome is not None
    else:
        (outcome,) = watched.outcomes
    ok, value = outcome
    return ok, value


def check(watched: Any, kind: str, error: type[BaseException]) -> None:
    ok, raised = ended(watched, kind)
    assert not ok
    assert type(raised) is error


@pytest.mark.parametrize("kind", KINDS)
def test_c8_a_value_and_an_error_are_told_without_the_gil(
    ext: ModuleType, default_rt: gilscope.PyRuntime, kind: str
) -> None:
    watched, _ = ext.watched(kind, same, 1)
    assert ended(watched, kind) == (True, 1)
    watched, _ = ext.watched(kind, fails)
    check(watched, kind, ValueError)


@pytest.mark.parametrize("kind", KINDS)
def test_c10_a_cancel_in_the_queue_and_while_running(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any, hold: Hold, kind: str
) -> None:
    running, _ = ext.watched(kind, gate)
    assert gate.started.wait(LIMIT)
    default_rt.submit(hold)
    assert hold.started.wait(LIMIT)
    queued, _ = ext.watched(kind, same)
    assert queued.cancel()
    assert running.cancel()
    hold.release.set()
    check(queued, kind, gilscope.CallCancelled)
    check(running, kind, gilscope.CallCancelled)


@pytest.mark.parametrize("kind", KINDS)
def test_g2_an_argument_that_does_not_convert(
    ext: ModuleType, default_rt: gilscope.PyRuntime, kind: str
) -> None:
    watched, _ = ext.watched(kind, same, bad_argument=True)
    check(watched, kind, gilscope.ArgumentError)


@pytest.mark.parametrize("kind", KINDS)
def test_x6_a_deadline_in_the_queue_and_while_running(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any, hold: Hold, kind: str
) -> None:
    running, _ = ext.watched(kind, gate, deadline=0.05)
    check(running, kind, gilscope.DeadlineExceeded)
    default_rt.submit(hold)
    assert hold.started.wait(LIMIT)
    queued, _ = ext.watched(kind, same, deadline=0.05)
    check(queued, kind, gilscope.DeadlineExceeded)


def test_t2_a_deadline_that_has_passed_when_an_attached_thread_calls(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    watched, _ = ext.watched("closure", same, deadline=0)
    check(watched, "closure", gilscope.DeadlineExceeded)
    watched, polled = ext.watched("future", same, deadline=0)
    assert not polled[0]
    assert watched.attached == [], "there was no waker yet"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", ["cancel", "abort"])
def test_l4_a_shutdown_of_running_and_queued_calls(
    ext: ModuleType, gate: Any, kind: str, mode: str
) -> None:
    runtime = ext.Runtime(max_in_flight=1)
    running, _ = ext.watched(kind, gate, runtime=runtime)
    queued, _ = ext.watched(kind, same, runtime=runtime)
    assert gate.started.wait(LIMIT)
    assert runtime.shutdown(mode, LIMIT)[2]
    stopped = gilscope.RuntimeStopped
    check(running, kind, gilscope.CallCancelled if mode == "cancel" else stopped)
    check(queued, kind, stopped)


@pytest.mark.parametrize("kind", KINDS)
def test_l4_a_shutdown_while_the_loop_is_held(ext: ModuleType, hold: Hold, kind: str) -> None:
    runtime = ext.Runtime()
    held, _ = ext.watched(kind, hold, runtime=runtime)
    assert hold.started.wait(LIMIT)
    queued, _ = ext.watched(kind, same, runtime=runtime)
    assert not runtime.shutdown("cancel", 0)[2]
    check(held, kind, gilscope.RuntimeStopped)
    check(queued, kind, gilscope.RuntimeStopped)


@pytest.mark.parametrize("kind", KINDS)
def test_l3_a_loop_that_is_closed_under_its_calls(ext: ModuleType, gate: Any, kind: str) -> None:
    async def close() -> None:
        loop = asyncio.get_running_loop()
        loop.call_soon(loop.stop)
        loop.run_until_complete = lambda task: loop.close()  # type: ignore[assignment, return-value]
        await asyncio.sleep(60)

    runtime = ext.Runtime(max_in_flight=2)
    running, _ = ext.watched(kind, gate, runtime=runtime)
    assert gate.started.wait(LIMIT)
    closing, _ = ext.watched(kind, close, runtime=runtime)
    queued, _ = ext.watched(kind, same, runtime=runtime)
    for watched in (running, closing, queued):
        check(watched, kind, gilscope.RuntimeStopped)


@pytest.mark.parametrize("kind", KINDS)
def test_b1_a_refused_call_is_told_to_its_submitter_only(
    ext: ModuleType, hold: Hold, kind: str
) -> None:
    runtime = ext.Runtime(queue_size=1)
    ext.send("discard", hold, runtime=runtime)
    assert hold.started.wait(LIMIT)
    runtime.try_many(same, 2)  # the queue is full now
    watched, polled = ext.watched(kind, same, runtime=runtime, full="fail")
    refused = watched.refused or polled[1]
    assert type(refused) is gilscope.QueueFull
    hold.release.set()
    assert runtime.shutdown("drain", LIMIT)[2]
    watched, polled = ext.watched(kind, same, runtime=runtime)
    assert type(watched.refused or polled[1]) is gilscope.RuntimeStopped
    assert watched.attached == []


def waiting(ext: ModuleType, gate: Any, eventually: Eventually) -> tuple[Any, list[Any]]:
    """A runtime whose queue is full, and three futures that wait for room in it."""
    runtime = ext.Runtime(queue_size=1, max_in_flight=1)
    ext.send("discard", gate, runtime=runtime)
    assert gate.started.wait(LIMIT)
    eventually(lambda: runtime.try_many(same, 1) == (1, 0))
    return runtime, [ext.watched("future", same, i, runtime=runtime)[0] for i in range(3)]


def test_b1_whoever_waits_for_room_is_woken_without_the_gil(
    ext: ModuleType, gate: Any, eventually: Eventually
) -> None:
    runtime, watched = waiting(ext, gate, eventually)
    watched[0].drop()  # leaves the line, with the GIL
    gate.open()
    for i in (1, 2):
        eventually(lambda i=i: watched[i].poll() == (True, i))  # type: ignore[misc]
        assert set(watched[i].attached) == {False}
    assert runtime.shutdown("cancel", LIMIT) == (0, 0, True)


def test_b1_a_shutdown_wakes_who_waits_for_room_without_the_gil(
    ext: ModuleType, gate: Any, eventually: Eventually
) -> None:
    runtime, watched = waiting(ext, gate, eventually)
    assert runtime.shutdown("cancel", LIMIT)[2]
    for each in watched:
        assert set(each.wait()) == {False}
        ok, error = each.poll()
        assert not ok
        assert type(error) is gilscope.RuntimeStopped


def test_c8_who_finds_its_outcome_with_the_gil_wakes_nobody_else(
    ext: ModuleType, default_rt: gilscope.PyRuntime, hold: Hold
) -> None:
    default_rt.submit(hold)
    assert hold.started.wait(LIMIT)
    first, _ = ext.watched("future", same, 1, then="hold")
    second, _ = ext.watched("future", same, 2)
    hold.release.set()  # both end in one batch, and the first waker holds the rest up
    assert first.wait() == [False]
    assert first.poll() == (True, 1)
    assert second.attached == []
    first.release()
    assert second.wait() == [False]
    assert second.poll() == (True, 2)
