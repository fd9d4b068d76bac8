"""V2: the tracestate of a request is in the spans of all calls and tasks that are made for it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from otelcol import Collector

STATE = "vendor=1,other=2"
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

CODE = """if True:
    import asyncio, sys, gilscope

    async def leaf(): await asyncio.sleep(0)
    async def child(): await asyncio.create_task(leaf())
    async def late():
        await told.wait()
        await asyncio.create_task(leaf())
    async def below(): await asyncio.gather(child(), child())
    async def items():
        await asyncio.create_task(leaf())
        yield 1

    async def request():
        outlives.append(asyncio.create_task(late()))
        await rt.call_async(below)
        assert [item async for item in rt.stream(items)] == [1]

    async def other():
        told.set()
        await child()
        await outlives[0]

    told, outlives = asyncio.Event(), []
    url, parent, state = sys.argv[1:]
    with gilscope.instrument(otlp=url) as export, gilscope.PyRuntime() as rt:
        rt.options(parent=parent, tracestate=state).call(request)
        rt.call(other)
        rt.shutdown()
        export.close()
    assert sum(export.lost.values()) == 0
    assert ("opentelemetry" in sys.modules) == theirs
"""


@pytest.mark.parametrize("theirs", [False, True])
def test_v2_calls_and_tasks_are_exported_with_their_tracestate(
    collector: Collector, theirs: bool
) -> None:
    code = f"theirs = {theirs}\n{'import opentelemetry.trace' if theirs else ''}\n{CODE}"
    command = [sys.executable, "-c", code, collector.url("http/protobuf"), PARENT, STATE]
    subprocess.run(command, check=True, timeout=60)
    collector.stop()
    whole = [
        (span["name"].rpartition(".")[2], span["attributes"]["gilscope.span"], span)
        for span in collector.receiver.spans()
        if span["attributes"]["gilscope.span"] in ("call", "task")
    ]
    of_request = sorted(
        (name, kind) for name, kind, span in whole if span["traceId"] == PARENT[3:35]
    )
    assert of_request == sorted(
        [
            *[("request", "call"), ("below", "call"), ("items", "call")],
            *[("__aiter__", "call"), ("aclose", "call")],
            *[("__anext__", "call")] * 2,
            *[("child", "task")] * 2,
            *[("leaf", "task")] * 4,
            ("late", "task"),
        ]
    )
    states = {(span["traceId"] == PARENT[3:35], span.get("traceState", "")) for _, _, span in whole}
    assert states == {(True, STATE), (False, "")}
