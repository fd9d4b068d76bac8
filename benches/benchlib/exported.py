"""What export to a collector costs, measured in a child: spans, calls beside it, its own rate."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median

import gilscope_peers as peers

from benchlib.child import Job
from benchlib.work import immediate

PATIENCE = 60.0
CHUNK = 5_000
SPANS = 7
PYTHON_CALLS = 300
# Names of threads, as the kernel cuts them.
EXPORTING = ("gilscope-conver", "gilscope-otlp")


def span_costs(repeats: int) -> Job:
    """Nanoseconds per span to the thread that records it: ours and the peers', interleaved."""
    took: dict[str, list[float]] = {}
    python = _python_sdk()
    for turn in range(repeats + 1):
        yield {"progress": f"ns per span: round {turn} of {repeats}"}
        peers.ours_sink(None)
        peers.ours_detail("full")
        found = {"ours": peers.span_cost(20)}
        peers.ours_detail("off")
        found["ours off"] = peers.span_cost(20)
        peers.ours_detach()
        found["tracing"] = peers.tracing_span_cost(10, True)
        found["tracing off"] = peers.tracing_span_cost(10, False)
        found["python"] = next(python)
        if turn:
            for name, ns in found.items():
                took.setdefault(name, []).append(ns)
    yield {name: round(median(all_ns), 2) for name, all_ns in took.items()}


def _python_sdk() -> Iterator[float]:
    """The same spans by OpenTelemetry's SDK for Python and its batch processor."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Nowhere(SpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    room = PYTHON_CALLS * SPANS
    provider.add_span_processor(
        BatchSpanProcessor(Nowhere(), max_queue_size=2 * room, schedule_delay_millis=60_000)
    )
    tracer = provider.get_tracer("bench")
    whole = {
        "gilscope.span": "call",
        "gilscope.runtime": 1,
        "code.function.name": "bench.span_cost",
        "gilscope.status": "ok",
        "gilscope.polls": 1,
    }
    names = ("enqueue", "queued", "gil.wait", "ready", "poll", "callback")
    parts = [(name, {"gilscope.span": name, "gilscope.runtime": 1}) for name in names]
    while True:
        began = time.perf_counter()
        for _ in range(PYTHON_CALLS):
            call = tracer.start_span("bench.span_cost", attributes=whole)
            within = trace.set_span_in_context(call)
            for name, attributes in parts:
                tracer.start_span(name, within, attributes=attributes).end()
            call.end()
        took = time.perf_counter() - began
        provider.force_flush()
        yield took / room * 1e9


def _move_export(core: int) -> None:
    """From now on the threads that export are on this core."""
    for thread in Path("/proc/self/task").iterdir():
        with suppress(OSError):  # others end meanwhile
            if (thread / "comm").read_text().strip() in EXPORTING:
                os.sched_setaffinity(int(thread.name), {core})


@contextmanager
def _export(to: tuple[str, str] | None, lost: dict[str, int]) -> Iterator[None]:
    """Record everything, and export it if there is somewhere to; add to what was lost."""
    peers.ours_detail("full")
    if to is None:
        # What is recorded is joined and counted, as ever while something is attached.
        peers.ours_sink(None)
        try:
            yield
        finally:
            peers.ours_detach()
        return
    os.environ["OTEL_EXPORTER_OTLP_PROTOCOL"], url = to
    peers.ours_export(url)
    try:
        yield
    finally:
        for reason, spans in peers.ours_export_end().items():
            lost[reason] = lost.get(reason, 0) + spans


def paced(
    repeats: int, per_second: int, seconds: float, to: tuple[str, str], core: int | None
) -> Job:
    """p99 of calls at a steady rate, with export and without; and what was lost.

    `to` is protocol and address. `core`: where the threads that export are kept, with export and
    without; where not None.
    """
    p99: dict[bool, list[float]] = {True: [], False: []}
    lost: dict[str, int] = {}
    before = peers.ours_stats()
    for turn in range(repeats + 1):
        yield {"progress": f"{per_second} calls/s, {to[0]}: round {turn} of {repeats}"}
        # In an order that turns, so that what drifts hits both.
        for exports in (turn % 2 == 0, turn % 2 == 1):
            with _export(tuple(to) if exports else None, lost):
                if core is not None:
                    _move_export(core)
                calls = int(per_second * (seconds if turn else seconds / 4))
                took = sorted(peers.ours_paced(immediate, calls, per_second))
            if turn:
                p99[exports].append(took[len(took) * 99 // 100] / 1e3)
    exported = lost.pop("exported")
    recorded = peers.ours_stats()["dropped"] - before["dropped"]
    yield {
        "without_us": median(p99[False]),
        "with_us": median(p99[True]),
        "ratio": median(a / b for a, b in zip(p99[True], p99[False], strict=True)),
        "rounds_us": {"without": p99[False], "with": p99[True]},
        "exported": exported,
        "lost": {"recorder": recorded, **lost},
    }


def saturated(repeats: int, calls: int, in_flight: int, to: tuple[str, str]) -> Job:
    """Calls a second, as many as go, with export and without; and what was lost."""
    rate: dict[bool, list[float]] = {True: [], False: []}
    lost: dict[str, int] = {}
    before = peers.ours_stats()
    for turn in range(repeats + 1):
        yield {"progress": f"saturation, {to[0]}: round {turn} of {repeats}"}
        for exports in (turn % 2 == 0, turn % 2 == 1):
            with _export(tuple(to) if exports else None, lost):
                took = peers.ours_calls(immediate, calls, in_flight)
            if turn:
                rate[exports].append(calls / took)
    exported = lost.pop("exported")
    recorded = peers.ours_stats()["dropped"] - before["dropped"]
    yield {
        "without_per_s": median(rate[False]),
        "with_per_s": median(rate[True]),
        "share": median(a / b for a, b in zip(rate[True], rate[False], strict=True)),
        "rounds_per_s": {"without": rate[False], "with": rate[True]},
        "exported": exported,
        "lost": {"recorder": recorded, **lost},
    }


def export_rate(repeats: int, calls: int, to: tuple[str, str]) -> Job:
    """Spans a second that a collector takes, when they wait for it; and what was lost."""
    os.environ["OTEL_BSP_MAX_QUEUE_SIZE"] = str(2 * calls * SPANS)
    rates: list[float] = []
    lost: dict[str, int] = {}
    for turn in range(repeats + 1):
        yield {"progress": f"export rate, {to[0]}: round {turn} of {repeats}"}
        with _export(tuple(to), lost):
            began = time.perf_counter()
            for _ in range(calls // CHUNK):
                peers.ours_calls(immediate, CHUNK, 64)
            exported = _until_exported(calls * SPANS)
            if turn:
                rates.append(exported / (time.perf_counter() - began))
    exported = lost.pop("exported")
    yield {"per_s": median(rates), "rounds_per_s": rates, "exported": exported, "lost": lost}


def _until_exported(spans: int) -> int:
    end = time.monotonic() + PATIENCE
    while True:
        counts = peers.ours_exported()
        if sum(counts.values()) >= spans:
            return counts["exported"]
        if time.monotonic() > end:
            raise TimeoutError(f"only {counts} of {spans} spans after {PATIENCE} s")
        time.sleep(0.001)
