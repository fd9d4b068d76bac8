"""Spans that are not sampled take no room of those that are, and are not missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from accounts import NOTHING
from faulty import LIMIT
from opentelemetry import trace

import gilscope
from gilscope import _native

if TYPE_CHECKING:
    from collections.abc import Callable

    from faulty import Faulty
    from otelcol import Collector

# Of processes that are above; the flags are put behind them.
UNSAMPLED, SAMPLED = "4bf92f3577b34da6a3ce929d0e0e4736", "0af7651916cd43dd8448eb211c80319c"
ABOVE = "00f067aa0ba902b7"
STATE = "vendor=1,other=2"
# OTLP's, beside the eight: whether a parent is of another process is known, and it is.
KNOWN, REMOTE = 0x100, 0x200


def test_unsampled_spans_are_not_lost(
    faulty: Faulty, settings: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    settings(TRACES_SAMPLER="always_off", BSP_MAX_QUEUE_SIZE=100)
    with gilscope.instrument(otlp=faulty.url) as exporter, gilscope.PyRuntime() as rt:
        for future in [rt.submit(int) for _ in range(500)]:
            future.result(LIMIT)
        rt.shutdown()
        gilscope.stats()  # all is known by now
        exporter.close()
    assert exporter.exported == 0
    assert exporter.lost == NOTHING
    assert capfd.readouterr().err == ""


def test_who_is_sampled_is_decided_as_before_once_the_exporter_is_closed(
    faulty: Faulty, settings: Callable[..., None], rt: gilscope.PyRuntime
) -> None:
    async def flags() -> int:
        _, _, flags = _native.current_trace() or ("", "", 0)
        return flags

    def is_sampled() -> bool:
        return bool(rt.call(flags) & 1)

    assert is_sampled()
    settings(TRACES_SAMPLER="always_off")
    with gilscope.instrument(otlp=faulty.url):
        assert not is_sampled()
        settings(TRACES_SAMPLER="always_on")
        with gilscope.instrument(otlp=faulty.url):
            assert is_sampled()
        assert not is_sampled()
        settings(EXPORTER_OTLP_HEADERS="no header=1")
        with pytest.raises(ValueError, match="HEADERS"):
            gilscope.instrument(otlp=faulty.url)
        assert not is_sampled()
    assert is_sampled()


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_nothing_arrives_below_an_unsampled_parent(
    collector: Collector, settings: Callable[..., None], protocol: str
) -> None:
    async def inner(number: int) -> int:
        return number

    async def outer(number: int) -> int:
        return await rt.call_async(inner, number)

    settings(EXPORTER_OTLP_PROTOCOL=protocol, EXPORTER_OTLP_ENDPOINT=collector.url(protocol))
    above = trace.SpanContext(
        int(SAMPLED, 16),
        int(ABOVE, 16),
        is_remote=True,
        trace_flags=trace.TraceFlags(0xAB),
        trace_state=trace.TraceState.from_header([STATE]),
    )
    with gilscope.instrument() as exporter, gilscope.PyRuntime() as rt:
        for flags in ("00", "aa"):  # all bits but the one that matters
            below = rt.options(parent=f"00-{UNSAMPLED}-{ABOVE}-{flags}")
            assert [below.call(outer, number) for number in range(20)] == list(range(20))
        with trace.use_span(trace.NonRecordingSpan(above)):
            assert rt.call(outer, 1) == 1
        given = f"00-{SAMPLED}-{ABOVE}-ab"
        assert rt.options(parent=given).call(inner, 2) == 2
        rt.shutdown()
        gilscope.stats()
        exporter.close()
    assert exporter.lost == NOTHING
    collector.stop()
    spans = collector.receiver.spans()
    assert exporter.exported == len(spans)
    assert {s["traceId"] for s in spans if s["name"] != "loop.turn"} == {SAMPLED}
    # Of turns in which something ran those alone in which something ran that is there.
    all_turns = [s for s in spans if s["name"] == "loop.turn"]
    turns = {s["spanId"] for s in all_turns if s["attributes"]["gilscope.calls"]}
    assert turns
    assert turns <= {link["spanId"] for s in spans for link in s.get("links", ())}
    came = [s for s in spans if s["traceId"] == SAMPLED]
    calls = [s for s in came if s["attributes"]["gilscope.span"] == "call"]
    tops = [s for s in calls if s["parentSpanId"] == ABOVE]
    assert sorted(s["name"].rpartition(".")[2] for s in tops) == ["inner", "outer"]
    assert [s["flags"] for s in tops] == [0xAB | KNOWN | REMOTE] * 2
    below_them = [s for s in came if s not in tops]
    assert {s["flags"] for s in below_them} == {0xAB | KNOWN}
    (outermost,) = (s for s in tops if s["name"].endswith("outer"))
    (innermost,) = (s for s in calls if s["parentSpanId"] != ABOVE)
    assert [s.get("traceState") for s in (outermost, innermost)] == [STATE, STATE]
