"""Log records have the ids of the call they come from."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from seen import calls, ids

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Tracer


@pytest.fixture
def records() -> Iterator[list[logging.LogRecord]]:
    """What is logged, with the filter on."""
    kept: list[logging.LogRecord] = []
    handler = logging.Handler()
    handler.emit = kept.append  # type: ignore[method-assign, assignment]
    handler.addFilter(gilscope.TraceFilter())
    logger = logging.getLogger("of the test")
    logger.addHandler(handler)
    yield kept
    logger.removeHandler(handler)


async def logs() -> None:
    logging.getLogger("of the test").warning("now")


def told(record: logging.LogRecord) -> tuple[str, str, str]:
    return record.trace_id, record.span_id, record.trace_flags  # type: ignore[attr-defined]


def test_records_of_a_call_and_its_tasks(
    rt: gilscope.PyRuntime, records: list[logging.LogRecord]
) -> None:
    async def both() -> None:
        await logs()
        await asyncio.gather(logs(), logs())

    with gilscope.trace() as trace:
        rt.call(both)
    span = calls(trace.spans)["both"]
    assert [told(record) for record in records] == [(span["trace"], span["id"], "03")] * 3


def test_records_outside_of_calls(records: list[logging.LogRecord]) -> None:
    asyncio.run(logs())
    assert told(records[0]) == ("0", "0", "00")


def test_records_below_a_users_span(
    rt: gilscope.PyRuntime, tracer: Tracer, records: list[logging.LogRecord]
) -> None:
    with tracer.start_as_current_span("user") as span:
        rt.call(logs)
    assert told(records[0])[:2] == ids(span.get_span_context())


ALONE = """
import sys, gilscope
from gilscope import _native

async def leaf():
    return _native.current_trace()

async def root():
    return _native.current_trace(), await gilscope.py_runtime().call_async(leaf)

with gilscope.trace() as trace, gilscope.instrument(otlp="http://127.0.0.1:9"):
    mine, its = gilscope.py_runtime().call(root)
spans = {span["name"]: span for span in trace.spans if span["span"] == "call"}
assert spans["__main__.leaf"]["parent"] == spans["__main__.root"]["id"] == mine[1]
assert spans["__main__.leaf"]["trace"] == mine[0] == its[0]
assert not any(name.startswith("opentelemetry") for name in sys.modules)
"""


def test_without_opentelemetry_calls_are_below_calls_and_nobody_imports_it() -> None:
    subprocess.run([sys.executable, "-c", ALONE], check=True, timeout=60)
