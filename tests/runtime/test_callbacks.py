"""Exactly one outcome per call, whatever its callback and however it ends."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

KINDS = ["future", "oneshot", "channel", "closure", "python", "discard"]
STATUS = {
    "ok": "ok",
    "err": "error",
    "cancel": "cancelled_by_caller",
    "shutdown": "cancelled_by_shutdown",
}


async def ok() -> int:
    await asyncio.sleep(0)
    return 1


async def err() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


def check(end: str, arrived: list[tuple[str, Any]]) -> None:
    """What arrived is one outcome, and the right one."""
    assert len(arrived) == 1
    how, what = arrived[0]
    if end == "ok":
        assert (how, what) == ("ok", 1)
    elif end == "err":
        assert (how, type(what), str(what)) == ("err", ValueError, "no")
    else:
        assert (how, type(what)) == ("err", gilscope.CallCancelled)
        assert what.by == {"cancel": "caller", "shutdown": "shutdown"}[end]


@pytest.mark.parametrize("end", STATUS)
@pytest.mark.parametrize("kind", KINDS)
def test_c8_exactly_one_outcome_for_every_callback_and_every_end(
    ext: ModuleType,
    default_rt: gilscope.PyRuntime,
    gate: Any,
    eventually: Callable[[Callable[[], object]], None],
    kind: str,
    end: str,
) -> None:
    with gilscope.trace() as trace:
        sent = ext.send(kind, {"ok": ok, "err": err}.get(end, gate))
        assert sent.refused is None
        if end in ("cancel", "shutdown"):
            assert gate.started.wait(10)
        if end == "cancel":
            assert sent.cancel()
        if end == "shutdown":
            default_rt.shutdown("cancel", deadline=10)
        arrived = sent.wait()
        if end != "shutdown":
            default_rt.call(ok)  # a second outcome would be there by now
        call = f"{sent.id:016x}"
        eventually(lambda: ended(trace, call))
    spans = ended(trace, call)
    assert [span["status"] for span in spans] == [STATUS[end]]
    assert "undelivered" not in spans[0].get("flags", [])
    assert sent.is_done
    assert not sent.cancel()
    assert len(sent.arrived) == len(arrived)
    if kind == "discard":
        assert arrived == []
    else:
        check(end, arrived)


def ended(trace: gilscope.trace, call: str) -> list[dict[str, Any]]:
    return [span for span in trace.spans if span["span"] == "call" and span["id"] == call]


@pytest.mark.parametrize("kind", KINDS)
def test_c10_a_failing_call_on_an_own_runtime_reaches_its_callback(
    ext: ModuleType, kind: str
) -> None:
    runtime = ext.Runtime()
    try:
        sent = ext.send(kind, err, runtime=runtime)
        arrived = sent.wait()
        assert sent.is_done
        if kind != "discard":
            check("err", arrived)
    finally:
        assert runtime.shutdown("cancel", 10)[2]


@pytest.mark.parametrize("kind", KINDS)
def test_c10_calls_queued_at_a_shutdown_get_runtime_stopped(
    ext: ModuleType, gate: Any, kind: str
) -> None:
    runtime = ext.Runtime(max_in_flight=1)
    running = ext.send("closure", gate, runtime=runtime)
    assert gate.started.wait(10)
    queued = ext.send(kind, ok, runtime=runtime)
    assert runtime.shutdown("cancel", 10)[2]
    assert [type(what) for _, what in running.wait()] == [gilscope.CallCancelled]
    expected = [] if kind == "discard" else [gilscope.RuntimeStopped]
    assert [type(what) for _, what in queued.wait()] == expected
    assert queued.is_done


@pytest.mark.parametrize("kind", KINDS)
def test_c10_a_call_cancelled_in_the_queue_never_runs_and_says_so(
    ext: ModuleType, gate: Any, kind: str
) -> None:
    runtime = ext.Runtime(max_in_flight=1)
    ran = []
    try:
        running = ext.send("closure", gate, 7, runtime=runtime)
        assert gate.started.wait(10)
        queued = ext.send(kind, ran.append, 1, runtime=runtime)
        assert queued.cancel()
        arrived = queued.wait()
        gate.open()
        assert running.wait() == [("ok", (7,))]
        assert [(type(what), what.by) for _, what in arrived] == (
            [] if kind == "discard" else [(gilscope.CallCancelled, "caller")]
        )
        assert ext.call(ok, runtime=runtime) == 1
        assert len(queued.arrived) == len(arrived)
        assert ran == []
    finally:
        assert runtime.shutdown("cancel", 10)[2]
