"""The name that user code gave a task is an attribute of its span, beside what else is known."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from accounts import NOTHING

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelcol import Collector

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def leaf() -> None:
    await asyncio.sleep(0)


async def makes() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(leaf(), name="x" * 10_000)
        group.create_task(leaf(), name="worker 1")
        group.create_task(leaf())


@pytest.mark.parametrize("state", ["", "vendor=1"])
def test_tasks_are_exported_with_the_names_they_were_given(
    collector: Collector, settings: Callable[..., None], state: str
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"))
    with gilscope.instrument() as exporter, gilscope.PyRuntime() as rt:
        rt.options(parent=PARENT, tracestate=state).call(makes)
        rt.shutdown()
        exporter.close()
    assert exporter.lost == NOTHING
    collector.stop()
    spans = [s for s in collector.receiver.spans() if s["name"].endswith(".leaf")]
    assert {span["attributes"]["gilscope.span"] for span in spans} == {"task"}
    assert {span.get("traceState", "") for span in spans} == {state}
    names = [span["attributes"].get("gilscope.task.name", "") for span in spans]
    assert sorted(map(len, names)) == [0, len("worker 1"), 4096]
    assert "worker 1" in names
