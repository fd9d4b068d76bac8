"""What is counted reaches a real collector, by the same numbers as `gilscope.stats()`."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope
from gilscope import _native

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    from otelcol import Collector

PARTS = ["call", "enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback", "task"]


async def naps() -> None:
    await asyncio.gather(asyncio.sleep(0.001), asyncio.sleep(0.002))


async def raises() -> None:
    raise ValueError("as it should")


started = threading.Event()


async def stubborn() -> None:
    started.set()
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.Event().wait()


def points(metric: dict[str, Any]) -> dict[str, int]:
    """The values of a counter by its one attribute."""
    return {
        point["attributes"][0]["value"]["stringValue"]: int(point["asInt"])
        for point in metric["sum"]["dataPoints"]
    }


def is_as_in_stats(metric: dict[str, Any], wanted: dict[str, int]) -> None:
    """A histogram of durations has the numbers of `gilscope.stats()`."""
    (point,) = metric["histogram"]["dataPoints"]
    assert metric["unit"] == "s"
    assert int(point["count"]) == wanted["count"], metric["name"]
    # Nobody has a maximum of nothing.
    assert ("max" in point) == (wanted["count"] > 0)
    assert point.get("sum", 0) == pytest.approx(wanted["sum_ns"] * 1e-9)
    assert point.get("max", 0) == pytest.approx(wanted["max_ns"] * 1e-9)
    assert sum(map(int, point["bucketCounts"])) == wanted["count"]
    assert metric["histogram"]["aggregationTemporality"] == 2  # cumulative


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_collector_receives_what_was_counted(
    collector: Collector, settings: Callable[..., None], protocol: str
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol, EXPORTER_OTLP_ENDPOINT=collector.url(protocol))
    _native.reset_stats()
    started.clear()
    with gilscope.instrument() as export, gilscope.PyRuntime() as rt:
        for future in [rt.submit(naps) for _ in range(20)]:
            future.result(30)
        for _ in range(3):
            with pytest.raises(ValueError, match="as it should"):
                rt.call(raises)
        swallowed = rt.submit(stubborn)
        started.wait(30)
        swallowed.cancel()
        rt.shutdown()
        stats = gilscope.stats()
        export.close()
    collector.stop()
    metrics = collector.receiver.metrics()
    for part in PARTS:
        is_as_in_stats(metrics[f"gilscope.{part}.duration"], stats["parts"][part])
    assert points(metrics["gilscope.calls"]) == {"ok": 21, "error": 3}
    found = points(metrics["gilscope.findings"])
    assert list(found) == [f"GS0{number}" for number in range(1, 8)]
    assert found["GS05"] == 1
    assert {id: count for id, count in found.items() if count} == stats["findings"]["counts"]
    assert set(points(metrics["gilscope.dropped"]).values()) == {0}
    (in_flight,) = metrics["gilscope.calls.in_flight"]["gauge"]["dataPoints"]
    assert int(in_flight["asInt"]) == 0
    (woken,) = metrics["gilscope.wake.duration"]["histogram"]["dataPoints"]
    assert int(woken["count"]) == stats["parts"]["suspended"]["count"]
    is_as_in_stats(metrics["gilscope.loop.gil.wait.duration"], stats["gil_wait"])
    (held,) = metrics["gilscope.gil.hold.duration"]["histogram"]["dataPoints"]
    assert int(held["count"]) > 0


def test_metrics_are_exported_while_it_runs(
    collector: Collector, settings: Callable[..., None], eventually: Callable[..., None]
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"), METRIC_EXPORT_INTERVAL=50)
    settings(BSP_SCHEDULE_DELAY=20)
    stop = asyncio.Event()

    async def waits() -> None:
        await stop.wait()

    def in_flight() -> int:
        metric = collector.receiver.metrics().get("gilscope.calls.in_flight")
        return 0 if metric is None else int(metric["gauge"]["dataPoints"][0]["asInt"])

    with gilscope.instrument(), gilscope.PyRuntime() as rt:
        futures = [rt.submit(waits) for _ in range(7)]
        eventually(lambda: in_flight() == 7)
        rt.call(stop.set)
        for future in futures:
            future.result(30)
        eventually(lambda: in_flight() == 0)


def gauges(collector: Collector, name: str) -> list[int]:
    """All that was ever sent of a gauge."""
    return [
        int(metric["gauge"]["dataPoints"][0]["asInt"])
        for request in list(collector.receiver.requests)
        for resource in request.get("resourceMetrics", [])
        for metric in resource["scopeMetrics"][0]["metrics"]
        if metric["name"] == name
    ]


def test_queue_depth_is_what_no_loop_has_begun(
    collector: Collector, settings: Callable[..., None], eventually: Callable[..., None]
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=collector.url("grpc"), EXPORTER_OTLP_PROTOCOL="grpc")
    settings(METRIC_EXPORT_INTERVAL=50, BSP_SCHEDULE_DELAY=20)
    stop = asyncio.Event()
    with gilscope.instrument(), gilscope.PyRuntime(max_in_flight=2) as rt:
        futures = [rt.submit(stop.wait) for _ in range(7)]
        eventually(lambda: rt.stats()["gauges"]["queue_depth"] == 5)
        assert rt.stats()["gauges"] == {"queue_depth": 5, "in_flight": 2, "gil_waiters": 0}
        eventually(lambda: 5 in gauges(collector, "gilscope.queue.depth"))
        for future in futures:
            future.cancel()
    assert gilscope.stats()["gauges"] == {"queue_depth": 0, "in_flight": 0, "gil_waiters": 0}


def test_gil_waiters_are_counted_while_somebody_holds_the_gil(
    collector: Collector,
    settings: Callable[..., None],
    eventually: Callable[..., None],
    ext: ModuleType,
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"))
    settings(METRIC_EXPORT_INTERVAL=50, BSP_SCHEDULE_DELAY=20)
    ext.call(naps)  # its loop waits for events from now on
    with gilscope.instrument(watchdog=False):
        ext.ticks_while_gil_held(naps, 0.5, 3)
        eventually(lambda: 1 in gauges(collector, "gilscope.gil.waiters"))
    assert max(gauges(collector, "gilscope.gil.waiters")) == 1


def test_waits_for_the_gil_while_all_calls_are_suspended_are_exported(
    collector: Collector, settings: Callable[..., None], ext: ModuleType
) -> None:
    suspended = threading.Event()

    async def dozes() -> None:
        asyncio.get_running_loop().call_soon(suspended.set)
        await asyncio.sleep(0.2)

    settings(EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"))
    with gilscope.instrument(watchdog=False) as export, gilscope.PyRuntime() as rt:
        _native.reset_stats()
        future = rt.submit(dozes)
        assert suspended.wait(30)
        ext.hold_gil(1.0)  # its timer is over long before
        future.result(30)
        rt.shutdown()
        stats = gilscope.stats()
        export.close()
    collector.stop()
    metrics, parts = collector.receiver.metrics(), stats["parts"]
    assert parts["gil.wait"]["count"] == 1
    assert stats["gil_wait"]["max_ns"] > parts["gil.wait"]["max_ns"]
    is_as_in_stats(metrics["gilscope.gil.wait.duration"], parts["gil.wait"])
    is_as_in_stats(metrics["gilscope.loop.gil.wait.duration"], stats["gil_wait"])


def test_wakes_are_counted_in_python_too(rt: gilscope.PyRuntime) -> None:
    _native.reset_stats()
    rt.call(asyncio.sleep, 0.01)
    rt.shutdown()
    wake = gilscope.stats()["wake"]
    assert wake["count"] == gilscope.stats()["parts"]["suspended"]["count"] == 1
    assert 0 < wake["max_ns"] <= gilscope.stats()["parts"]["suspended"]["max_ns"]
