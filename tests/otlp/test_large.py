"""Spans that are together longer than a request may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelcol import Collector

CALLS, BATCH = 1200, 8192
LIMIT = 30


def fails(number: int, depth: int = 40) -> None:
    if depth:
        fails(number, depth - 1)
    raise LookupError(f"{number} " + "is not here, " * 80)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_b4_spans_longer_than_a_collector_takes_at_once(
    collector: Collector,
    settings: Callable[..., None],
    eventually: Callable[..., None],
    protocol: str,
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=collector.url(protocol), EXPORTER_OTLP_PROTOCOL=protocol)
    settings(BSP_MAX_EXPORT_BATCH_SIZE=BATCH, BSP_SCHEDULE_DELAY=600_000)  # so many at once
    with gilscope.instrument() as exporter, gilscope.PyRuntime() as rt:
        for first in range(0, CALLS, 100):
            futures = [rt.submit(fails, first + number) for number in range(100)]
            for future in futures:
                assert isinstance(future.exception(LIMIT), LookupError)
            gilscope.stats()  # so many exceptions at most are kept until they are read
        rt.shutdown()
        eventually(lambda: exporter.exported + sum(exporter.lost.values()) >= BATCH)
        exporter.close()
    assert sum(exporter.lost.values()) == 0, exporter.failure
    collector.stop()
    came = collector.receiver.spans()
    assert len(came) == exporter.exported
    calls = [span for span in came if span["attributes"]["gilscope.span"] == "call"]
    assert len({span["status"]["message"].split()[0] for span in calls}) == CALLS
    told = sum(
        len(pair["value"]["stringValue"])
        for span in calls
        for event in span["events"]
        for pair in event["attributes"]
    )
    assert told > 1.2 * 4 * 2**20  # what a collector takes at once by gRPC
