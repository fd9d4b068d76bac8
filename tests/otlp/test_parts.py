"""How long parts took that are no spans: from a wake to the poll, and of a call alone."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from otelcol import Collector

PARTS = ["enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback"]
OF_TASKS = PARTS[3:]

ALONE = """if True:
    import asyncio, sys
    import gilscope

    async def naps():
        await asyncio.gather(asyncio.sleep(0.001), asyncio.sleep(0.002))

    with gilscope.trace(sys.argv[1]), gilscope.instrument() as export, gilscope.PyRuntime() as rt:
        for _ in range(10):
            rt.call(naps)
        rt.shutdown()
        export.close()
    assert not any(export.lost.values())
"""


async def wakes_another() -> None:
    event = asyncio.Event()
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.sleep(0.001)
    event.set()
    await waiting


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_time_from_wake_to_poll_is_the_one_in_the_trace(
    collector: Collector, settings: Callable[..., None], protocol: str
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol, EXPORTER_OTLP_ENDPOINT=collector.url(protocol))
    with gilscope.trace() as trace, gilscope.instrument() as export, gilscope.PyRuntime() as rt:
        for future in [rt.submit(wakes_another) for _ in range(20)]:
            future.result(30)
        rt.shutdown()
        export.close()
        spans = trace.spans
    collector.stop()
    wanted = {
        span["id"]: span["start_ns"] + span["dur_ns"] - span["wake_ns"]
        for span in spans
        if span["span"] == "suspended" and "wake_ns" in span
    }
    assert len(wanted) >= 20 * 3
    said = {
        span["spanId"]: span["attributes"]["gilscope.wake_to_poll_ns"]
        for span in collector.receiver.spans()
        if "gilscope.wake_to_poll_ns" in span["attributes"]
    }
    assert said == wanted
    assert all(waited >= 0 for waited in said.values())


def totals(attributes: dict[str, Any]) -> dict[str, int]:
    """What a call or task says of its parts, by their names."""
    keys = {part: f"gilscope.{part.replace('.', '_')}_ns" for part in PARTS}
    return {part: attributes[key] for part, key in keys.items() if key in attributes}


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_call_alone_says_how_long_its_parts_took(
    collector: Collector, tmp_path: Path, settings: Callable[..., None], monkeypatch, protocol: str
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol, EXPORTER_OTLP_ENDPOINT=collector.url(protocol))
    monkeypatch.setenv("GILSCOPE_DETAIL", "call")
    trace = tmp_path / "t.jsonl"
    subprocess.run([sys.executable, "-c", ALONE, str(trace)], check=True, timeout=120)
    collector.stop()
    recorded = {
        span["id"]: (span["span"], span["parts"])
        for span in map(json.loads, trace.read_text().splitlines())
        if span.get("span") in ("call", "task")
    }
    came = {
        span["spanId"]: (span["attributes"]["gilscope.span"], span)
        for span in collector.receiver.spans()
        if span["attributes"]["gilscope.span"] != "loop.turn"
    }
    assert {kind for kind, _ in came.values()} == {"call", "task"}  # and no part
    assert came.keys() == recorded.keys()
    assert len(came) == 10 * 3
    for id, (kind, span) in came.items():
        said = totals(span["attributes"])
        assert list(said) == (PARTS if kind == "call" else OF_TASKS)
        parts = recorded[id][1]
        assert said == {part: parts[f"{part}_ns"] for part in said}
        took = int(span["endTimeUnixNano"]) - int(span["startTimeUnixNano"])
        assert sum(said.values()) == pytest.approx(took, abs=len(PARTS))
