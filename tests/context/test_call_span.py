"""What user code says of the current span lands on the call's."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from seen import calls

import gilscope

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

pytestmark = pytest.mark.usefixtures("exported")


def recorded(rt: gilscope.PyRuntime, fun: Callable[[], Awaitable[object]]) -> dict[str, Any]:
    """The span of one call."""
    with gilscope.trace() as trace:
        rt.call(fun)
    (span,) = calls(trace.spans).values()
    return dict(span)


def test_attributes_land_on_the_call(rt: gilscope.PyRuntime) -> None:
    async def says() -> None:
        span = trace.get_current_span()
        span.set_attribute("text", "a")
        span.set_attribute("text", "b")
        await asyncio.sleep(0)
        span.set_attributes({"true": True, "int": 7, "float": 0.5, "list": ["x", "y"]})
        span.set_attribute("huge", 1 << 70)
        span.set_attribute("none of its kinds", object())

    assert recorded(rt, says)["attributes"] == {
        "text": "b",
        "true": True,
        "int": 7,
        "float": 0.5,
        "list": ["x", "y"],
        "huge": str(1 << 70),
    }


def test_events_land_on_the_call(rt: gilscope.PyRuntime) -> None:
    async def says() -> None:
        span = trace.get_current_span()
        span.add_event("first", {"n": 1}, timestamp=17)
        span.record_exception(ValueError("no"), {"more": "yes"})

    first, second = recorded(rt, says)["events"]
    assert first == {"name": "first", "time_ns": 17, "attributes": {"n": 1}}
    assert second["name"] == "exception"
    assert second["attributes"] == {
        "exception.type": "ValueError",
        "exception.message": "no",
        "exception.stacktrace": "ValueError: no\n",
        "more": "yes",
    }


def test_of_a_long_stack_the_exception_itself_is_kept(rt: gilscope.PyRuntime) -> None:
    async def says() -> None:
        error = ValueError("it")
        error.__cause__ = KeyError("long " * 1000)
        trace.get_current_span().record_exception(error)

    (event,) = recorded(rt, says)["events"]
    stack = event["attributes"]["exception.stacktrace"]
    assert stack.startswith("[what went before is left out]\n")
    assert stack.endswith("ValueError: it\n")


def test_what_is_said_after_the_call_lands_nowhere(rt: gilscope.PyRuntime) -> None:
    kept: list[trace.Span] = []

    async def keeps() -> None:
        kept.append(trace.get_current_span())
        assert kept[0].is_recording()

    span = recorded(rt, keeps)
    kept[0].set_attribute("late", 1)
    kept[0].end()
    assert not kept[0].is_recording()
    assert "attributes" not in span
    assert f"{kept[0].get_span_context().span_id:016x}" == span["id"]


def test_calls_of_one_context_each_have_their_own(rt: gilscope.PyRuntime) -> None:
    async def inner() -> None:
        trace.get_current_span().set_attribute("who", "inner")

    async def outer() -> None:
        await rt.call_async(inner)
        trace.get_current_span().set_attribute("who", "outer")

    with gilscope.trace() as seen:
        rt.call(outer)
    spans = calls(seen.spans)
    assert {name: span["attributes"]["who"] for name, span in spans.items()} == {
        "inner": "inner",
        "outer": "outer",
    }


def test_immediate_functions_and_children_say_it_too(rt: gilscope.PyRuntime) -> None:
    def plain() -> None:
        trace.get_current_span().set_attribute("by", "plain")

    async def child() -> None:
        trace.get_current_span().set_attribute("by", "child")

    async def parent() -> None:
        await asyncio.create_task(child())

    assert recorded(rt, plain)["attributes"] == {"by": "plain"}  # type: ignore[arg-type]
    with gilscope.trace() as seen:
        rt.call(parent)
    (call,) = (span for span in seen.spans if span["span"] == "call")
    assert call["attributes"] == {"by": "child"}


def test_it_is_one_of_opentelemetrys_spans(rt: gilscope.PyRuntime) -> None:
    """Every method of the interface is there, and takes what the interface takes."""

    async def uses() -> None:
        span = trace.get_current_span()
        assert isinstance(span, trace.Span)
        assert trace.Span.__abstractmethods__ <= set(dir(span))
        with span as same:
            assert same is span
        span.set_status(trace.StatusCode.OK)
        span.set_status(trace.Status(trace.StatusCode.ERROR, "no"))
        span.add_link(span.get_span_context(), {"a": 1})
        span.update_name("renamed")
        span.end(end_time=7)
        assert span.is_recording()

    recorded(rt, uses)


def test_what_makes_no_sense_is_an_error_of_its_caller(rt: gilscope.PyRuntime) -> None:
    async def wrong() -> None:
        span = trace.get_current_span()
        with pytest.raises(TypeError):
            span.set_attribute(7, 7)  # type: ignore[arg-type]
        with pytest.raises(TypeError):
            span.set_attributes(7)  # type: ignore[arg-type]
        with pytest.raises(AttributeError):
            span.set_status("nonsense")  # type: ignore[arg-type]

    recorded(rt, wrong)
