"""Receivers that go away or have no room, and the race between an end and a cancel."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"


async def ok() -> int:
    await asyncio.sleep(0)
    return 1


def span_of(trace: gilscope.trace, sent: Any) -> dict[str, Any]:
    call = f"{sent.id:016x}"
    (span,) = [s for s in trace.spans if s["span"] == "call" and s["id"] == call]
    return span


@pytest.mark.parametrize("kind", ["future", "oneshot"])
def test_c1_dropping_the_receiver_cancels_the_python_task(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any, eventually: Eventually, kind: str
) -> None:
    with gilscope.trace() as trace:
        sent = ext.send(kind, gate)
        assert gate.started.wait(10)
        sent.drop()
        assert gate.cancelled.wait(10)
        eventually(lambda: not default_rt.in_flight())
        assert default_rt.call(ok) == 1
        span = span_of(trace, sent)
    assert span["status"] == "cancelled_by_caller"
    assert "caller_dropped" in span["flags"]
    assert not gate.returned.is_set()


@pytest.mark.parametrize("kind", ["future", "oneshot"])
def test_c1_detach_lets_the_python_task_end(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any, eventually: Eventually, kind: str
) -> None:
    with gilscope.trace() as trace:
        sent = ext.send(kind, gate, on_drop="detach")
        assert gate.started.wait(10)
        sent.drop()
        gate.open()
        assert gate.returned.wait(10)
        eventually(lambda: not default_rt.in_flight())
        assert default_rt.call(ok) == 1
        span = span_of(trace, sent)
    assert span["status"] == "ok"
    assert "detached" in span["flags"]
    assert not gate.cancelled.is_set()


@pytest.mark.parametrize("kind", ["oneshot", "channel"])
def test_c2_a_dropped_receiver_is_counted(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any, eventually: Eventually, kind: str
) -> None:
    before = default_rt.stats()["undelivered"]
    with gilscope.trace() as trace:
        sent = ext.send(kind, gate, on_drop="detach")
        assert gate.started.wait(10)
        sent.drop()
        gate.open()
        eventually(lambda: default_rt.stats()["undelivered"] == before + 1)
        assert default_rt.call(ok) == 1
        assert "undelivered" in span_of(trace, sent)["flags"]
    assert sent.arrived == []


def test_c2_channel_room_is_taken_at_submit(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    refused, waited, outcomes = ext.channel_full(ok)
    assert refused
    assert waited
    assert outcomes == 2
    assert default_rt.stats()["undelivered"] == 0


def test_c2_a_slow_channel_loses_nothing(ext: ModuleType, default_rt: gilscope.PyRuntime) -> None:
    async def echo(i: int) -> int:
        return i

    outcomes = ext.process(echo, list(range(300)))
    assert outcomes == [(True, i) for i in range(300)]


def test_c9_completion_against_cancel_has_one_winner(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    caught: list[dict[str, Any]] = []

    async def setup() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: caught.append(context))

    default_rt.call(setup)
    ends = {"ok": 0, "err": 0}
    for i in range(400):
        sent = ext.send("closure", ok)
        for _ in range(i % 40 * 20):
            pass  # moves the cancel through the life of the call
        won = sent.cancel()
        arrived = sent.wait()
        assert len(arrived) == 1
        how, what = arrived[0]
        ends[how] += 1
        assert (how, what) == ("ok", 1) or (type(what), what.by) == (
            gilscope.CallCancelled,
            "caller",
        )
        assert how == "ok" or won
    assert ends["ok"] + ends["err"] == 400
    assert caught == []


def test_c9_the_same_for_submitted_futures(rt: gilscope.PyRuntime) -> None:
    futures = []
    for i in range(400):
        future = rt.submit(ok)
        for _ in range(i % 40 * 20):
            pass
        future.cancel()
        futures.append(future)
    for future in futures:
        error = future.exception(10)
        assert error is None or (type(error), error.by) == (gilscope.CallCancelled, "caller")
    assert rt.call(ok) == 1
