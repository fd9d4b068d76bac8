"""Every span closes, on every path by which a call can end."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"


async def ok() -> int:
    await asyncio.sleep(0)
    return 1


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


async def cancels_itself() -> None:
    raise asyncio.CancelledError


async def for_ever() -> None:
    await asyncio.Event().wait()


def quietly(work: Callable[[], object]) -> None:
    try:
        work()
    except (Exception, asyncio.CancelledError):
        return
    raise AssertionError("it was to fail")


def drop_begun(ext: Any, rt: Any) -> None:
    begun = threading.Event()

    async def begins() -> None:
        begun.set()
        await for_ever()

    sent = ext.send("future", begins)
    assert begun.wait(30)
    sent.drop()


# What is done, and the status that its span ends with.
PATHS: dict[str, tuple[Callable[[Any, Any], object], str]] = {
    "value": (lambda ext, rt: rt.call(ok), "ok"),
    "immediate": (lambda ext, rt: rt.call(len, "x"), "ok"),
    "rust": (lambda ext, rt: ext.call(ok), "ok"),
    "error": (lambda ext, rt: quietly(lambda: rt.call(fails)), "error"),
    "error_at_once": (lambda ext, rt: quietly(lambda: rt.call(int, "x")), "error"),
    "by_callee": (lambda ext, rt: quietly(lambda: rt.call(cancels_itself)), "cancelled_by_callee"),
    "by_caller": (lambda ext, rt: ext.send("closure", for_ever).cancel(), "cancelled_by_caller"),
    "dropped": (drop_begun, "cancelled_by_caller"),
    "not_awaited": (
        lambda ext, rt: ext.future_dropped(for_ever),
        "never_awaited",
    ),
    "deadline": (
        lambda ext, rt: quietly(lambda: rt.options(deadline=0.02).call(for_ever)),
        "deadline",
    ),
    "deadline_at_once": (
        lambda ext, rt: quietly(lambda: rt.options(deadline=0).call(ok)),
        "deadline",
    ),
    "argument": (
        lambda ext, rt: quietly(lambda: ext.call_bad_args("error", print)),
        "argument_error",
    ),
    "argument_panics": (
        lambda ext, rt: quietly(lambda: ext.call_bad_args("panic", print)),
        "panic",
    ),
    "result": (lambda ext, rt: quietly(lambda: ext.call_int(lambda: "x")), "result_error"),
    "result_panics": (lambda ext, rt: quietly(lambda: ext.call_bad_result(ok)), "panic"),
    "callback_panics": (lambda ext, rt: ext.send("closure_panics", ok).wait(), "ok"),
}


def calls_of(trace: gilscope.trace) -> list[dict[str, Any]]:
    return [s for s in trace.spans if s["span"] == "call" and s["name"] != "builtins.abs"]


@pytest.mark.parametrize("path", PATHS)
def test_o6_the_span_closes(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually, path: str
) -> None:
    work, status = PATHS[path]
    with gilscope.trace() as trace:
        work(ext, default_rt)
        eventually(lambda: default_rt.call(abs, -1) and calls_of(trace))
        eventually(lambda: not default_rt.in_flight())
        assert [span["status"] for span in calls_of(trace)] == [status]


@pytest.mark.parametrize("mode", ["drain", "cancel", "abort"])
def test_o6_the_spans_of_a_runtime_that_stops(
    ext: ModuleType, gate: Any, eventually: Eventually, mode: str
) -> None:
    with gilscope.trace() as trace:
        rt = gilscope.PyRuntime("stops", max_in_flight=2)
        rt.submit(gate)
        rt.submit(ok)
        assert gate.started.wait(10)
        rt.submit(gate)
        for _ in range(4):
            rt.submit(ok)
        gate.open() if mode == "drain" else None
        rt.shutdown(mode, deadline=10)  # type: ignore[arg-type]
        quietly(lambda: rt.submit(ok))
        eventually(lambda: len(calls_of(trace)) == 8)
        assert not rt.in_flight()
        statuses = [span["status"] for span in calls_of(trace)]
    assert statuses.count("stopped") >= 1
    assert len(set(statuses)) > 1


def test_o6_a_refused_call_has_a_span(rt: gilscope.PyRuntime, eventually: Eventually) -> None:
    with gilscope.trace() as trace, gilscope.PyRuntime("full", queue_size=1) as full:
        calls = full.options(full="fail")
        refused = 0
        for _ in range(2000):
            try:
                calls.submit(ok)
            except gilscope.QueueFull:
                refused += 1
        assert refused
        assert full.shutdown("drain", deadline=10)["joined"]
        eventually(lambda: len(calls_of(trace)) + rt.stats()["dropped"]["side"] >= 2000)
        statuses = [span["status"] for span in calls_of(trace)]
        lost = rt.stats()["dropped"]["side"]
    assert statuses.count("ok") == 2000 - refused
    assert statuses.count("queue_full") + lost >= refused
