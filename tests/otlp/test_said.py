"""What user code says of the current span in a coroutine is what a collector gets of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from accounts import NOTHING
from opentelemetry import trace
from otelcol import flat

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelcol import Collector

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
ELSEWHERE = trace.SpanContext(
    int(TRACE, 16),
    int(SPAN, 16),
    is_remote=True,
    trace_flags=trace.TraceFlags(0xAB),
    trace_state=trace.TraceState.from_header(["vendor=1"]),
)


async def says() -> None:
    span = trace.get_current_span()
    span.update_name("another name")
    span.set_attribute("text", "not this")
    await asyncio.sleep(0)  # the rest in another poll
    span.set_attribute("text", "a")
    span.set_attribute("code.function.name", "mine")
    span.set_attributes({"true": True, "int": -7, "float": 0.5, "list": ["x", "y"]})
    span.add_event("happened", {"n": 1}, timestamp=1_700_000_000_000_000_017)
    span.add_link(ELSEWHERE, {"why": "because"})
    try:
        raise LookupError("not there")
    except LookupError as error:
        span.record_exception(error, {"more": "yes"})
    span.set_status(trace.StatusCode.ERROR, "as good as failed")


async def is_fine() -> None:
    trace.get_current_span().set_status(trace.StatusCode.OK)


async def in_a_task() -> None:
    async def child() -> None:
        trace.get_current_span().set_attribute("by", "child")

    await asyncio.create_task(child())


@pytest.fixture(params=["grpc", "http/protobuf"])
def calls(
    collector: Collector, settings: Callable[..., None], request: pytest.FixtureRequest
) -> Callable[..., list[dict[str, Any]]]:
    """Calls a function, and returns the spans of its call and of the tasks in it."""

    def exported(fun: Callable[[], Any]) -> list[dict[str, Any]]:
        settings(EXPORTER_OTLP_PROTOCOL=request.param)
        settings(EXPORTER_OTLP_ENDPOINT=collector.url(request.param))
        with gilscope.instrument() as exporter, gilscope.PyRuntime() as rt:
            rt.call(fun)
            rt.shutdown()
            exporter.close()
        assert exporter.lost == NOTHING
        collector.stop()
        kinds = ("call", "task")
        spans = collector.receiver.spans()
        return [span for span in spans if span["attributes"]["gilscope.span"] in kinds]

    return exported


def test_what_is_said_in_a_coroutine_arrives(calls: Callable[..., list[dict[str, Any]]]) -> None:
    (call,) = calls(says)
    assert call["name"] == "another name"
    attributes = call["attributes"]
    assert attributes["text"] == "a"
    assert (attributes["true"], attributes["int"], attributes["float"]) == (True, -7, 0.5)
    assert attributes["list"] == {"values": [{"stringValue": "x"}, {"stringValue": "y"}]}
    assert attributes["code.function.name"] == "mine"
    assert attributes["gilscope.status"] == "ok"
    assert call["status"] == {"code": 2, "message": "as good as failed"}
    happened, raised = call["events"]
    assert (happened["name"], flat(happened["attributes"])) == ("happened", {"n": 1})
    assert happened["timeUnixNano"] == "1700000000000000017"
    assert raised["name"] == "exception"
    told = flat(raised["attributes"])
    stack = told.pop("exception.stacktrace")
    assert stack.startswith("Traceback (most recent call last):\n")
    assert f'File "{__file__}"' in stack
    assert stack.endswith("LookupError: not there\n")
    assert told == {
        "exception.type": "LookupError",
        "exception.message": "not there",
        "more": "yes",
    }
    start, end = int(call["startTimeUnixNano"]), int(call["endTimeUnixNano"])
    assert start - 1e9 < int(raised["timeUnixNano"]) < end + 1e9  # two clocks
    (link,) = call["links"]
    assert (link["traceId"], link["spanId"], link["traceState"]) == (TRACE, SPAN, "vendor=1")
    assert flat(link["attributes"]) == {"why": "because"}
    assert link["flags"] == 0xAB | 0x300  # of another process, which is known


def test_status_that_is_set_to_ok_arrives(calls: Callable[..., list[dict[str, Any]]]) -> None:
    (call,) = calls(is_fine)
    assert call["status"] == {"code": 1}
    assert "links" not in call
    assert "events" not in call


def test_what_a_task_says_is_said_of_its_call(calls: Callable[..., list[dict[str, Any]]]) -> None:
    spans = {span["attributes"]["gilscope.span"]: span for span in calls(in_a_task)}
    assert spans["call"]["attributes"]["by"] == "child"
    assert "by" not in spans["task"]["attributes"]
