"""V2 of streams: the calls of one are in a trace, and its body is in the span of its step."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from seen import ids

import gilscope
from gilscope import _native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType

    from opentelemetry.trace import Tracer

LIMIT = 20
PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ab"


class Body:
    """An async generator that says something in each step, and notes in which span it is."""

    def __init__(self) -> None:
        self.current: list[tuple[str, str]] = []
        self.logged: list[object] = []
        self.recording: list[bool] = []
        self.closed = threading.Event()

    async def __call__(self) -> AsyncIterator[int]:
        try:
            for number in (1, 2, 3):
                self.say(number)
                await asyncio.sleep(0)
                yield number
        finally:
            self.say("finally")
            self.closed.set()

    def say(self, what: object) -> None:
        span = trace.get_current_span()
        span.set_attribute("said", what)  # type: ignore[arg-type]
        self.current.append(ids(span.get_span_context()))
        told = _native.current_trace()
        self.logged.append(None if told is None else told[:2])
        self.recording.append(span.is_recording())


def two_from_python(ext: ModuleType, calls: gilscope.Calls, fun: Any) -> None:
    async def take() -> None:
        stream = calls.stream(fun)
        assert [await anext(stream), await anext(stream)] == [1, 2]
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(asyncio.wait_for(take(), LIMIT))


def two_from_rust(ext: ModuleType, calls: gilscope.Calls, fun: Any) -> None:
    assert ext.collect(fun, take=2) == ([1, 2], None)


each_side = pytest.mark.parametrize("take", [two_from_python, two_from_rust])


def recorded(take: Any, ext: ModuleType, body: Body, **options: Any) -> list[dict[str, Any]]:
    """The spans of the stream's calls, in their order."""
    rt = gilscope.py_runtime()
    with gilscope.trace() as seen:
        take(ext, rt.options(**options) if options else rt, body)
        assert body.closed.wait(LIMIT)
        rt.shutdown("drain", deadline=LIMIT)
    found = [span for span in seen.spans if span["span"] == "call"]
    return sorted(found, key=lambda span: span["start_ns"])


def last_of(spans: list[dict[str, Any]]) -> list[str]:
    return [span["name"].rpartition(".")[2] for span in spans]


STEPS = ["__aiter__", "__anext__", "__anext__", "aclose"]


@pytest.mark.usefixtures("exported", "default_rt")
@each_side
def test_v2_a_stream_is_one_trace_and_each_step_is_current_in_its_body(
    ext: ModuleType, take: Any
) -> None:
    opening, *steps = recorded(take, ext, body := Body(), name="gen")
    assert last_of(steps) == STEPS
    assert (opening["parent"], {span["trace"] for span in steps}) == (None, {opening["trace"]})
    assert {span["parent"] for span in steps} == {opening["id"]}
    in_body = steps[1:]
    assert body.current == body.logged == [(span["trace"], span["id"]) for span in in_body]
    assert body.recording == [True] * 3
    said = [span.get("attributes") for span in [opening, *steps]]
    assert said == [None, None, {"said": 1}, {"said": 2}, {"said": "finally"}]


@pytest.mark.usefixtures("exported", "default_rt")
def test_v2_a_stream_is_below_the_span_of_its_caller(ext: ModuleType, tracer: Tracer) -> None:
    with tracer.start_as_current_span("user outer") as outer:
        opening, *steps = recorded(two_from_python, ext, body := Body())
    assert (opening["trace"], opening["parent"]) == ids(outer.get_span_context())
    assert {(span["trace"], span["parent"]) for span in steps} == {
        (opening["trace"], opening["id"])
    }
    assert body.current == [(span["trace"], span["id"]) for span in steps[1:]]


@pytest.mark.usefixtures("exported", "default_rt")
def test_v2_a_span_that_the_body_of_a_stream_puts_there_stays(
    ext: ModuleType, tracer: Tracer
) -> None:
    class Own(Body):
        async def __call__(self) -> AsyncIterator[int]:
            with tracer.start_as_current_span("user inner") as self.own:
                self.say(1)
                yield 1
                self.say(2)
            try:
                yield 2
            finally:
                self.say("finally")
                self.closed.set()

    _, _, first, _, close = recorded(two_from_python, ext, body := Own())
    own = ids(body.own.get_span_context())
    assert body.current == [own, own, (close["trace"], close["id"])]
    assert own[0] == first["trace"]
    assert close["attributes"] == {"said": "finally"}


@pytest.mark.usefixtures("exported", "default_rt")
def test_v2_a_given_context_of_a_stream_is_used_as_it_is(ext: ModuleType, tracer: Tracer) -> None:
    empty = contextvars.Context()
    recorded(two_from_python, ext, nowhere := Body(), context=empty)
    assert set(nowhere.current) == {("0" * 32, "0" * 16)}
    assert not empty.run(trace.get_current_span).get_span_context().is_valid
    with tracer.start_as_current_span("user outer") as outer:
        context = contextvars.copy_context()
    opening, *steps = recorded(two_from_python, ext, body := Body(), context=context)
    assert set(body.current) == {ids(outer.get_span_context())}
    assert (opening["trace"], opening["parent"]) == ids(outer.get_span_context())
    assert {span["parent"] for span in steps} == {opening["id"]}


@pytest.mark.usefixtures("default_rt")
@each_side
def test_v2_while_nothing_is_exported_a_stream_has_no_span_that_nobody_sees(
    ext: ModuleType, take: Any
) -> None:
    opening, *steps = recorded(take, ext, body := Body())
    assert {span["parent"] for span in steps} == {opening["id"]}
    assert set(body.current) == {("0" * 32, "0" * 16)}
    assert body.recording == [False] * 3


@pytest.mark.usefixtures("default_rt")
def test_v2_while_nothing_is_exported_the_callers_span_is_current_in_a_stream(
    ext: ModuleType, tracer: Tracer
) -> None:
    with tracer.start_as_current_span("user outer") as outer:
        recorded(two_from_python, ext, body := Body())
    assert set(body.current) == {ids(outer.get_span_context())}
    body = Body()
    assert ext.collect(body, take=2, parent=(PARENT, "a=1")) == ([1, 2], None)
    assert body.closed.wait(LIMIT)
    assert set(body.current) == {(PARENT[3:35], PARENT[36:52])}
