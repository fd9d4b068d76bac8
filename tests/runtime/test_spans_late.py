"""Spans of calls whose deadline passed before they could start."""

from __future__ import annotations

import threading

import pytest

import gilscope


def test_x6_a_deadline_in_the_queue_is_told_though_a_shutdown_follows() -> None:
    started, release = threading.Event(), threading.Event()

    def holds() -> None:
        started.set()
        assert release.wait(60)

    runtime = gilscope.PyRuntime("late")
    with gilscope.trace() as trace:
        held = runtime.submit(holds)
        assert started.wait(10)
        late = [runtime.options(deadline=0.01).submit(len, []) for _ in range(5)]
        for future in late:
            with pytest.raises(gilscope.DeadlineExceeded):
                future.result(10)
        threading.Timer(0.05, release.set).start()
        assert runtime.shutdown("cancel", deadline=10)["joined"]
        assert held.result(10) is None
    calls = [
        span for span in trace.spans if span["span"] == "call" and span["name"] == "builtins.len"
    ]
    assert [span["status"] for span in calls] == ["deadline"] * 5
    assert all(span["error"]["type"] == "DeadlineExceeded" for span in calls)


def test_o6_the_parts_in_the_statistics_add_up_without_the_tasks(rt: gilscope.PyRuntime) -> None:
    import asyncio

    from gilscope import _native

    async def child() -> None:
        await asyncio.sleep(0.01)

    async def parent() -> None:
        await asyncio.gather(child(), child())

    rt.call(parent)
    _native.reset_stats()
    for _ in range(10):
        rt.call(parent)
    parts = rt.stats()["parts"]
    assert parts["task"]["count"] == 20
    names = ("enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback")
    total = sum(parts[name]["sum_ns"] for name in names)
    # Each part is rounded to whole nanoseconds on its own.
    assert abs(total - parts["call"]["sum_ns"]) <= 10 * 2 * len(names)
