"""V2: one trace, with the right parents, whichever way it crosses the border."""

from __future__ import annotations

import asyncio
import contextvars
from typing import TYPE_CHECKING

import pytest
from opentelemetry import trace
from seen import calls, chain, current, ids, of_user

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
    from opentelemetry.trace import Tracer


@pytest.mark.usefixtures("exported")
def test_v2_one_trace_from_python_through_rust_and_back(
    rt: gilscope.PyRuntime, ext: ModuleType, tracer: Tracer, finished: InMemorySpanExporter
) -> None:
    async def leaf() -> None:
        with tracer.start_as_current_span("user leaf"):
            await asyncio.sleep(0)

    async def middle() -> None:
        with tracer.start_as_current_span("user inner"):
            await ext.calls_below(leaf)

    with gilscope.trace() as recorded, tracer.start_as_current_span("user outer"):
        rt.call(middle)
    spans = [*calls(recorded.spans).values(), *map(of_user, finished.get_finished_spans())]
    assert chain(spans, "user leaf") == ["user leaf", "leaf", "user inner", "middle", "user outer"]


@pytest.mark.usefixtures("exported")
def test_v2_parents_stay_right_after_a_cancel(
    rt: gilscope.PyRuntime, ext: ModuleType, tracer: Tracer, finished: InMemorySpanExporter
) -> None:
    begun = asyncio.Event()

    async def cleanup() -> None:
        with tracer.start_as_current_span("user cleanup"):
            pass

    async def cancelled() -> None:
        try:
            begun.set()
            await ext.calls_below(asyncio.Event().wait)
        finally:
            await ext.calls_below(cleanup)

    async def after() -> None:
        with tracer.start_as_current_span("user after"):
            pass

    async def both() -> None:
        task = asyncio.create_task(cancelled(), name="both.cancelled")
        await begun.wait()
        task.cancel()
        await asyncio.wait([task])
        await ext.calls_below(after)

    with gilscope.trace() as recorded, tracer.start_as_current_span("user outer"):
        rt.call(both)
    spans = [*calls(recorded.spans).values(), *map(of_user, finished.get_finished_spans())]
    assert chain(spans, "user cleanup") == ["user cleanup", "cleanup", "both", "user outer"]
    assert chain(spans, "user after") == ["user after", "after", "both", "user outer"]


@pytest.mark.usefixtures("exported")
def test_v2_calls_of_rust_without_a_parent_are_roots(ext: ModuleType) -> None:
    with gilscope.trace() as recorded:
        trace_id, span_id = ext.call(current)
    span = calls(recorded.spans)["current"]
    assert (span["trace"], span["id"], span["parent"]) == (trace_id, span_id, None)


PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-ab"
STATE = "vendor=1,other=2"


async def headers() -> tuple[str, str, bool]:
    """What a request made in here would carry."""
    context = trace.get_current_span().get_span_context()
    trace_id, _ = ids(context)
    return (
        f"{trace_id}-{context.trace_flags:02x}",
        context.trace_state.to_header(),
        context.is_remote,
    )


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("how", ["given", "entered", "theirs"])
def test_v2_flags_and_tracestate_survive_from_rust(ext: ModuleType, how: str) -> None:
    with gilscope.trace() as recorded:
        told = ext.call_below(how, PARENT, STATE, headers)
    assert told == ("4bf92f3577b34da6a3ce929d0e0e4736-ab", STATE, False)
    assert calls(recorded.spans)["headers"]["parent"] == "00f067aa0ba902b7"


@pytest.mark.usefixtures("exported")
def test_v2_flags_and_tracestate_survive_from_python_into_rust(
    rt: gilscope.PyRuntime, ext: ModuleType
) -> None:
    async def into_rust() -> object:
        return await ext.current_in_rust()

    above = trace.SpanContext(
        0x4BF92F3577B34DA6A3CE929D0E0E4736,
        0xF067AA0BA902B7,
        is_remote=True,
        trace_flags=trace.TraceFlags(0xAB),
        trace_state=trace.TraceState.from_header([STATE]),
    )
    with gilscope.trace() as recorded, trace.use_span(trace.NonRecordingSpan(above)):
        ours, theirs = rt.call(into_rust)
    span = calls(recorded.spans)["into_rust"]
    assert span["parent"] == "00f067aa0ba902b7"
    assert ours == (f"00-4bf92f3577b34da6a3ce929d0e0e4736-{span['id']}-ab", STATE)
    assert theirs == ours


@pytest.mark.usefixtures("exported")
def test_v2_traceparent_given_by_python(rt: gilscope.PyRuntime) -> None:
    with gilscope.trace() as recorded:
        assert rt.options(parent=PARENT).call(headers)[0].endswith("-ab")
    assert calls(recorded.spans)["headers"]["parent"] == "00f067aa0ba902b7"
    with pytest.raises(ValueError, match="parent must be a traceparent like"):
        rt.options(parent="00-0")
    with pytest.raises(TypeError, match="parent must be a traceparent like"):
        rt.options(parent=7)  # type: ignore[arg-type]


@pytest.mark.usefixtures("exported")
def test_v2_tracestate_given_by_python(rt: gilscope.PyRuntime) -> None:
    given = rt.options(parent=PARENT, tracestate=STATE)
    assert given.call(headers)[1] == STATE
    assert given.options(name="renamed").call(headers)[1] == STATE
    long = [f"{key}={'v' * 125}" for key in "abcde"]
    assert given.options(tracestate=",".join(long)).call(headers)[1] == ",".join(long[:4])
    # Another parent is another trace; and without one there is none to have it.
    assert given.options(parent=PARENT).call(headers)[1] == ""
    assert rt.options(tracestate=STATE).call(headers)[1] == ""
    with pytest.raises(TypeError, match="tracestate must be a string or None"):
        rt.options(parent=PARENT, tracestate=7)  # type: ignore[arg-type]


@pytest.mark.usefixtures("exported")
def test_v2_an_unsampled_parent_stays_unsampled(
    rt: gilscope.PyRuntime, tracer: Tracer, finished: InMemorySpanExporter
) -> None:
    async def inside() -> tuple[bool, int]:
        with tracer.start_as_current_span("user inner"):
            span = trace.get_current_span()
        return span.is_recording(), await rt.call_async(headers)

    parent = PARENT[:-2] + "00"
    recording, (told, _, _) = rt.options(parent=parent).call(inside)
    assert not recording
    assert told == "4bf92f3577b34da6a3ce929d0e0e4736-00"
    assert finished.get_finished_spans() == ()


def test_v2_while_nothing_is_exported_the_callers_span_is_the_parent(
    rt: gilscope.PyRuntime, ext: ModuleType, tracer: Tracer
) -> None:
    with tracer.start_as_current_span("user outer") as outer:
        assert rt.call(current) == ids(outer.get_span_context())
    assert ext.call_below("given", PARENT, None, current)[1] == "00f067aa0ba902b7"


@pytest.mark.usefixtures("exported")
def test_v2_gather_and_threads(rt: gilscope.PyRuntime) -> None:
    def in_thread() -> tuple[str, str]:
        return ids(trace.get_current_span().get_span_context())

    async def several() -> list[tuple[str, str]]:
        loop = asyncio.get_running_loop()
        gathered = await asyncio.gather(current(), current())
        executor = await loop.run_in_executor(None, in_thread)
        return [*gathered, await asyncio.to_thread(in_thread), executor]

    with gilscope.trace() as recorded:
        first, second, threaded, executor = rt.call(several)
    span = calls(recorded.spans)["several"]
    assert first == second == threaded == (span["trace"], span["id"])
    assert executor == ("0" * 32, "0" * 16)  # loses it, as everywhere with asyncio


@pytest.mark.usefixtures("exported")
def test_v2_a_given_context_is_used_as_it_is(rt: gilscope.PyRuntime, tracer: Tracer) -> None:
    with tracer.start_as_current_span("user outer") as outer:
        context = contextvars.copy_context()
    with gilscope.trace() as recorded:
        assert rt.options(context=context).call(current) == ids(outer.get_span_context())
    span = calls(recorded.spans)["current"]
    assert (span["trace"], span["parent"]) == ids(outer.get_span_context())
    assert context.run(trace.get_current_span) is outer


@pytest.mark.usefixtures("exported")
def test_v2_what_else_is_in_the_context_stays(rt: gilscope.PyRuntime) -> None:
    from opentelemetry import baggage, context

    async def who() -> object:
        return baggage.get_baggage("user")

    token = context.attach(baggage.set_baggage("user", "ann"))
    try:
        assert rt.call(who) == "ann"
    finally:
        context.detach(token)
    assert rt.call(who) is None
