"""Spans by what a trace is about: who is below whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.trace import SpanContext


def ids(context: SpanContext) -> tuple[str, str]:
    """Trace and span id as gilscope writes them."""
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def of_user(span: ReadableSpan) -> dict[str, str | None]:
    """A span of the user's SDK as gilscope writes its own."""
    trace_id, span_id = ids(span.get_span_context())
    parent = None if span.parent is None else f"{span.parent.span_id:016x}"
    return {"name": span.name, "trace": trace_id, "id": span_id, "parent": parent}


def calls(spans: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """The call spans, by the last part of their name."""
    return {
        span["name"].rpartition(".")[2]: span for span in spans if span["span"] in ("call", "task")
    }


def chain(spans: list[dict[str, Any]], name: str) -> list[str]:
    """The names from a span up to its root, all of one trace."""
    by_id = {span["id"]: span for span in spans}
    (span,) = (span for span in spans if span["name"].rpartition(".")[2] == name)
    names, traces = [], set()
    while True:
        names.append(span["name"].rpartition(".")[2])
        traces.add(span["trace"])
        if span["parent"] not in by_id:
            break
        span = by_id[span["parent"]]
    assert len(traces) == 1
    assert span["parent"] is None, "its root has a parent that is nowhere"
    return names


async def current() -> tuple[str, str]:
    """What is current inside of a coroutine, by OpenTelemetry's own means."""
    return ids(trace.get_current_span().get_span_context())
