"""What a real collector receives is what was recorded: every span, once, with the same parents."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from otelcol import flat

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelcol import Collector

PROTOCOLS = ["grpc", "http/protobuf"]


async def nothing(number: int) -> int:
    return number


async def naps() -> None:
    for _ in range(3):
        await asyncio.sleep(0.001)


async def with_children() -> None:
    await asyncio.gather(naps(), naps())


async def raises() -> None:
    raise ValueError("as it should")


async def for_ever() -> None:
    await asyncio.Event().wait()


def work(rt: gilscope.PyRuntime) -> None:
    """Calls that end in every way."""
    futures = [rt.submit(nothing, number) for number in range(300)]
    futures += [rt.submit(naps) for _ in range(20)]
    futures += [rt.submit(with_children) for _ in range(5)]
    for future in futures:
        future.result(30)
    with pytest.raises(ValueError, match="as it should"):
        rt.call(raises)
    with pytest.raises(gilscope.DeadlineExceeded):
        rt.options(deadline=0.05).call(for_ever)


# What says on which thread it was.
PLACED = {"call", "task", "rust.poll", "loop.turn"}


def recorded(span: dict[str, Any]) -> tuple[object, ...]:
    """A span of the memory sink, by what OpenTelemetry knows of it."""
    name = (span["name"] if span["span"] in ("call", "task") else "") or span["span"]
    error = span.get("error", {}).get("type")
    if span["span"] in ("call", "task") and span["status"] != "ok":
        error = error or span["status"]
    start = span["start_ns"]
    return (
        span["id"],
        span["parent"] or "",
        name,
        span["span"],
        start,
        start + span["dur_ns"],
        error,
        # Parts are on that of their call or task.
        span["thread"] if span["span"] in PLACED else None,
    )


def received(span: dict[str, Any]) -> tuple[object, ...]:
    """The same of a span that came through the collector."""
    attributes = span["attributes"]
    return (
        span["spanId"],
        span.get("parentSpanId", ""),
        span["name"],
        attributes["gilscope.span"],
        int(span["startTimeUnixNano"]),
        int(span["endTimeUnixNano"]),
        attributes.get("error.type"),
        attributes.get("thread.name"),
    )


def test_threads_have_the_number_that_python_gives_them(collector: Collector) -> None:
    async def number() -> int:
        await gilscope.rust.sleep(0.001)
        return threading.get_ident()

    url = collector.url("http/protobuf")
    with gilscope.instrument(otlp=url) as export, gilscope.PyRuntime() as rt:
        ident = rt.call(number)
        rt.shutdown()
        export.close()
    collector.stop()
    spans = [span["attributes"] for span in collector.receiver.spans()]
    (own,) = {span["gilscope.runtime"] for span in spans if span["gilscope.span"] == "call"}
    said: dict[str, set[int | None]] = defaultdict(set)
    for span in spans:
        # Loops of other tests may turn.
        if span.get("gilscope.runtime", own) == own:
            said[span["gilscope.span"]].add(span.get("thread.id"))
    assert said["call"] == said["loop.turn"] == {ident}
    assert ident in said["rust.poll"]  # the first poll
    assert said["rust.poll"] > {ident}  # the others, on tokio's
    assert {kind for kind, threads in said.items() if threads != {None}} <= PLACED


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_collector_receives_what_was_recorded(
    collector: Collector, settings: Callable[..., None], protocol: str, compression: str
) -> None:
    settings(
        EXPORTER_OTLP_PROTOCOL=protocol,
        EXPORTER_OTLP_COMPRESSION=compression,
        EXPORTER_OTLP_ENDPOINT=collector.url(protocol),
        SERVICE_NAME="the tests",
        RESOURCE_ATTRIBUTES="deployment.environment.name=test%20bench,service.name=not this",
    )
    dropped = gilscope.stats()["dropped"]
    with gilscope.trace() as trace, gilscope.instrument(close_within=60) as export:
        with gilscope.PyRuntime("exported") as rt:
            work(rt)
        export.close()
        spans = trace.spans
    assert export.lost == dict.fromkeys(export.lost, 0)
    assert gilscope.stats()["dropped"] == dropped  # so that no difference is the recorder's
    collector.stop()
    came = collector.receiver.spans()
    assert export.exported == len(came)
    # The memory sink is closed later than the exporter: turns of the loop may have come since.
    of_calls = [span for span in spans if span["span"] != "loop.turn"]
    assert Counter(received(s) for s in came if s["name"] != "loop.turn") == Counter(
        map(recorded, of_calls)
    )
    turns = {recorded(span) for span in spans if span["span"] == "loop.turn"}
    came_turns = Counter(received(s) for s in came if s["name"] == "loop.turn")
    assert set(came_turns) <= turns
    assert set(came_turns.values()) == {1}
    assert len(turns) - len(came_turns) < 5
    traces = {span["id"]: span["trace"] for span in of_calls}
    assert {s["spanId"]: s["traceId"] for s in came if s["spanId"] in traces} == traces
    for resource in collector.receiver.resources():
        assert resource["service.name"] == "the tests"
        assert resource["deployment.environment.name"] == "test bench"


def test_exception_event_says_what_was_raised(
    collector: Collector, settings: Callable[..., None]
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"))
    with gilscope.instrument(), gilscope.PyRuntime() as rt, pytest.raises(ValueError, match="as"):
        rt.call(raises)
    collector.stop()
    (call,) = (s for s in collector.receiver.spans() if s["name"].endswith("raises"))
    assert call["status"] == {"message": "as it should", "code": 2}
    (event,) = call["events"]
    assert event["name"] == "exception"
    told = {pair["key"]: pair["value"]["stringValue"] for pair in event["attributes"]}
    assert told.pop("exception.stacktrace").endswith("ValueError: as it should\n")
    assert told == {"exception.type": "ValueError", "exception.message": "as it should"}


def test_task_without_a_name_is_called_by_its_kind(
    collector: Collector, settings: Callable[..., None]
) -> None:
    settings(EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"))
    with gilscope.instrument(), gilscope.PyRuntime() as rt, gilscope.PyRuntime() as other:

        async def asks() -> list[int]:
            # Not of a coroutine, whose name a task would have.
            return await asyncio.gather(other.call_async(nothing, 1))

        assert rt.call(asks) == [1]
    collector.stop()
    spans = collector.receiver.spans()
    (task,) = (s for s in spans if s["attributes"]["gilscope.span"] == "task")
    assert task["name"] == "task"
    assert "code.function.name" not in task["attributes"]


class Service:
    async def handle(self) -> None:
        await asyncio.sleep(0)


@pytest.mark.parametrize("kind", ["function", "method", "partial"])
def test_call_says_where_its_function_is_defined(
    collector: Collector, settings: Callable[..., None], kind: str
) -> None:
    funs = {"function": naps, "method": Service().handle, "partial": functools.partial(nothing, 1)}
    codes = {"function": naps, "method": Service.handle, "partial": nothing}
    settings(EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"))
    with gilscope.instrument(), gilscope.PyRuntime() as rt:
        rt.call(funs[kind])
    collector.stop()
    (call,) = (s for s in collector.receiver.spans() if s["attributes"]["gilscope.span"] == "call")
    attributes, code = call["attributes"], codes[kind].__code__
    assert attributes["code.function.name"] == f"{__name__}.{codes[kind].__qualname__}"
    assert attributes["code.file.path"] == __file__
    assert attributes["code.line.number"] == code.co_firstlineno


def test_poll_links_to_the_poll_that_woke_it(
    collector: Collector, settings: Callable[..., None]
) -> None:
    async def waits(event: asyncio.Event) -> None:
        await event.wait()

    async def wakes(event: asyncio.Event) -> None:
        await asyncio.sleep(0)
        event.set()

    async def alone() -> None:
        await asyncio.sleep(0.001)

    settings(EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"))
    with gilscope.trace() as trace, gilscope.instrument(), gilscope.PyRuntime() as rt:
        event = rt.call(asyncio.Event)
        waiter = rt.submit(waits, event)
        rt.call(wakes, event)
        waiter.result(30)
        rt.call(alone)
    collector.stop()
    polls: dict[str, list[dict[str, Any]]] = {}
    by_id = {span["spanId"]: span for span in collector.receiver.spans()}
    for span in by_id.values():
        if span["name"] == "poll":
            owner = by_id[span["parentSpanId"]]["name"].rpartition(".")[2]
            polls.setdefault(owner, []).append(span)

    def woken_by(span: dict[str, Any]) -> list[tuple[str, str]]:
        links = [(flat(link["attributes"]), link) for link in span["links"]]
        return [
            (link["traceId"], link["spanId"])
            for attributes, link in links
            if attributes == {"gilscope.link": "wake"}
        ]

    first, second = sorted(polls["waits"], key=lambda span: span["attributes"]["gilscope.poll"])
    (setter,) = (s for s in polls["wakes"] if s["attributes"]["gilscope.poll"] == 2)
    assert woken_by(first) == []
    assert woken_by(second) == [(setter["traceId"], setter["spanId"])]
    assert [woken_by(span) for span in polls["alone"]] == [[], []]  # a timer is no span
    (recorded,) = (s for s in trace.spans if s["id"] == second["spanId"])
    assert recorded["woken_by"] == setter["spanId"]
