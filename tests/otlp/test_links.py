"""Every link of a poll leads to a span that was exported too: the turn it ran in, who woke it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import pytest
from accounts import NOTHING
from otelcol import flat

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelcol import Collector

CALLS = 50


async def waits(event: asyncio.Event) -> None:
    await event.wait()
    await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.001))


async def wakes(event: asyncio.Event) -> None:
    await asyncio.sleep(0)
    event.set()


def link_of(span: dict[str, Any], what: str) -> tuple[str, str] | None:
    """Where its link of that kind leads to; it has one of each kind at most."""
    links = [it for it in span.get("links", []) if flat(it["attributes"])["gilscope.link"] == what]
    assert len(links) <= 1
    return (links[0]["traceId"], links[0]["spanId"]) if links else None


def last_of(polls: list[dict[str, Any]]) -> dict[str, Any]:
    """The poll that ended last."""
    return max(polls, key=lambda it: times(it)[1])


def times(span: dict[str, Any]) -> tuple[int, int]:
    return int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"])


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_links_of_polls_lead_to_exported_spans(
    collector: Collector, settings: Callable[..., None], protocol: str
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol, EXPORTER_OTLP_ENDPOINT=collector.url(protocol))
    with gilscope.instrument() as exporter, gilscope.PyRuntime() as rt, gilscope.PyRuntime() as two:
        events = [each.call(asyncio.Event) for each in (rt, two) for _ in range(CALLS)]
        runtimes = [rt] * CALLS + [two] * CALLS
        futures = [each.submit(waits, it) for each, it in zip(runtimes, events, strict=True)]
        futures += [each.submit(wakes, it) for each, it in zip(runtimes, events, strict=True)]
        for future in futures:
            future.result(30)
        for each in (rt, two):
            assert each.shutdown("drain", 30)["joined"]
        gilscope.stats()  # the last turns as well
        exporter.close()
    assert exporter.lost == NOTHING
    collector.stop()
    spans = {(s["traceId"], s["spanId"]): s for s in collector.receiver.spans()}
    assert len(spans) == exporter.exported
    polls = {key: span for key, span in spans.items() if span["name"] == "poll"}
    turns = {key: span for key, span in spans.items() if span["name"] == "loop.turn"}
    assert len(polls) >= 2 * CALLS * (1 + 3 + 2)
    ran_in: dict[tuple[str, str], set[str]] = defaultdict(set)
    woken = 0
    for poll in polls.values():
        turn_key = link_of(poll, "turn")
        assert turn_key is not None
        turn = turns[turn_key]
        owner = spans[poll["traceId"], poll["parentSpanId"]]
        same = ("gilscope.runtime", "thread.name", "thread.id")
        assert [turn["attributes"][key] for key in same] == [
            owner["attributes"][key] for key in same
        ]
        (start, end), (first, last) = times(poll), times(turn)
        assert first <= start <= end <= last
        ran_in[turn_key].add(poll["parentSpanId"])
        waker_key = link_of(poll, "wake")
        if waker_key is not None:
            waker = polls[waker_key]
            assert times(waker)[0] <= times(poll)[0]
            assert waker["parentSpanId"] != poll["parentSpanId"]
            woken += 1
    assert woken >= 2 * CALLS * 2  # by the event, and by the gather
    polls_of: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for poll in polls.values():
        polls_of[poll["parentSpanId"]].append(poll)
    tasks = [span for span in spans.values() if span["attributes"]["gilscope.span"] == "task"]
    gatherers = [key for key, span in spans.items() if span["name"].endswith(".waits")]
    assert len(gatherers) == 2 * CALLS
    for _, call in gatherers:
        children = [task["spanId"] for task in tasks if task["parentSpanId"] == call]
        assert len(children) == 2
        ended = last_of([poll for child in children for poll in polls_of[child]])
        # The poll in which the gather returned was woken by the one in which its last child ended.
        wake = link_of(last_of(polls_of[call]), "wake")
        assert wake == (ended["traceId"], ended["spanId"])
    for key, turn in turns.items():
        assert "links" not in turn
        # What a turn says that it served are the calls whose polls lead to it.
        assert turn["attributes"]["gilscope.calls"] == len(ran_in[key]), turn


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("ratio", ["0.25", "0.75"])
def test_polls_have_links_to_those_turns_only_that_are_sampled(
    collector: Collector, settings: Callable[..., None], protocol: str, ratio: str
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol, EXPORTER_OTLP_ENDPOINT=collector.url(protocol))
    settings(TRACES_SAMPLER="traceidratio", TRACES_SAMPLER_ARG=ratio)
    with gilscope.trace() as trace, gilscope.instrument() as exporter, gilscope.PyRuntime() as rt:
        for _ in range(400):
            rt.call(int)
        assert rt.shutdown("drain", 30)["joined"]
        gilscope.stats()
        ran_in = {span["id"]: span["turn"] for span in trace.spans if span["span"] == "poll"}
        exporter.close()
    assert exporter.lost == NOTHING
    collector.stop()
    spans = collector.receiver.spans()
    turns = {s["spanId"]: s["traceId"] for s in spans if s["name"] == "loop.turn"}
    polls = [s for s in spans if s["name"] == "poll"]
    linked = [s for s in polls if link_of(s, "turn") is not None]
    assert 0 < len(linked) < len(polls)
    for poll in polls:
        turn = ran_in[poll["spanId"]]
        assert link_of(poll, "turn") == ((turns[turn], turn) if turn in turns else None)


async def sleeps_and_sets(event: asyncio.Event) -> None:
    await asyncio.sleep(0)
    event.set()


async def sets_in_a_task(event: asyncio.Event) -> None:
    await asyncio.create_task(sleeps_and_sets(event))


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
@pytest.mark.parametrize("waker", [wakes, sets_in_a_task])
def test_polls_have_links_to_those_wakers_only_that_are_sampled(
    collector: Collector, settings: Callable[..., None], protocol: str, waker: Callable[..., Any]
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol, EXPORTER_OTLP_ENDPOINT=collector.url(protocol))
    above = f"00-{'ab' * 16}-{'cd' * 8}"
    with gilscope.trace() as trace, gilscope.instrument() as exporter, gilscope.PyRuntime() as rt:
        for flags in ("01", "00"):
            event = rt.call(asyncio.Event)
            waiter = rt.options(name=f"below {flags}").submit(event.wait)
            rt.options(parent=f"{above}-{flags}").call(waker, event)
            assert waiter.result(30)
        assert rt.shutdown("drain", 30)["joined"]
        gilscope.stats()
        exporter.close()
        recorded = trace.spans
    assert exporter.lost == NOTHING
    collector.stop()
    spans = {(s["traceId"], s["spanId"]): s for s in collector.receiver.spans()}
    found = {}
    for flags in ("01", "00"):
        (call,) = (s for s in spans.values() if s["name"] == f"below {flags}")
        polls = [s for s in spans.values() if s["name"] == "poll"]
        below = [s for s in polls if s["parentSpanId"] == call["spanId"]]
        (woken,) = (s for s in below if s["attributes"]["gilscope.poll"] == 2)
        (kept,) = (s for s in recorded if s["id"] == woken["spanId"])
        # A file has every span, and so all of them.
        assert kept["woken_by"] in {s["id"] for s in recorded if s["span"] == "poll"}
        link = link_of(woken, "wake")
        assert link is None or spans[link]["spanId"] == kept["woken_by"]
        found[flags] = link is not None
    assert found == {"01": True, "00": False}
