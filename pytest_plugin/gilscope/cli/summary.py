"""The summary on stderr: where the time went, what failed, what was lost, what to type next."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from gilscope.cli.errors import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# In the order in which a call passes them; `call` is their sum.
_PARTS = ("enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback")
_SLOWEST = 5
_PERFETTO = "https://ui.perfetto.dev"


@dataclass(slots=True)
class Report:
    """What a run has to say."""

    counts: dict[str, int]
    calls: int
    stats: dict[str, Any]
    seconds: float
    concurrency: int
    command: str
    out: str | None
    trace: str | None
    errors: Mapping[str, int]
    interrupted: bool
    unread: str


def print_summary(report: Report) -> None:
    """Write the summary to stderr, in colour where that is wanted."""
    console = Console(stderr=True, highlight=False, emoji=False)
    for line in _lines(report):
        console.print(line, soft_wrap=True)


def _lines(report: Report) -> Iterator[Text]:
    yield from _headline(report)
    yield from _errors(report)
    yield Text()
    yield from _parts(report.stats["parts"])
    yield from _functions(report.stats["functions"])
    yield from _rest(report)
    yield Text(f"next: {_next(report)}", style="bold")


def _headline(report: Report) -> Iterator[Text]:
    counts = report.counts
    rate = report.calls / report.seconds if report.seconds > 0 else 0.0
    text = Text(counted(report.calls, "call"), style="bold")
    text.append(f" in {duration(report.seconds * 1e9)}, {rate:,.0f} calls/s", style="not bold")
    text.append(f", at most {report.concurrency:,} at once", style="not bold")
    yield text
    text = Text(f"{counted(counts['done'], 'input')}: {counts['ok']:,} ok")
    for word, style in (("errors", "red"), ("cancelled", "yellow")):
        text.append(f", {counts[word]:,} {word}", style=style if counts[word] else "")
    yield text


def _errors(report: Report) -> Iterator[Text]:
    for name, count in sorted(report.errors.items(), key=lambda item: (-item[1], item[0])):
        yield Text(f"  {count:>8,}  {name}", style="red")


def _parts(parts: Mapping[str, Mapping[str, int]]) -> Iterator[Text]:
    if "call" not in parts or not parts["call"]["count"]:
        return
    whole = parts["call"]["sum_ns"] or 1
    yield _row("part of a call", "count", "p50", "p99", "max", "sum", "share", style="bold")
    for name in ("call", *_PARTS):
        if (part := parts.get(name)) is None:
            continue
        label = name if name == "call" else f"  {name}"
        times = [duration(part[key]) for key in ("p50_ns", "p99_ns", "max_ns", "sum_ns")]
        yield _row(label, f"{part['count']:,}", *times, f"{100 * part['sum_ns'] / whole:.1f} %")
    yield Text()


def _functions(functions: list[Mapping[str, Any]]) -> Iterator[Text]:
    called = [function for function in functions if function["calls"]]
    slowest = sorted(called, key=lambda function: -function["p99_ns"])[:_SLOWEST]
    if not slowest:
        return
    yield _row("slowest functions", "calls", "p50", "p99", "max", "sum", "errors", style="bold")
    for function in slowest:
        times = [duration(function[key]) for key in ("p50_ns", "p99_ns", "max_ns", "sum_ns")]
        errors = f"{function['errors']:,}"
        yield _row(f"{function['name']}", f"{function['calls']:,}", *times, errors)
    yield Text()


def _row(label: str, *cells: str, style: str = "") -> Text:
    return Text(f"{label:<24}" + "".join(f" {cell:>10}" for cell in cells), style=style)


def _rest(report: Report) -> Iterator[Text]:
    lost = {reason: count for reason, count in report.stats["dropped"].items() if count}
    reasons = ", ".join(f"{count:,} by {reason}" for reason, count in sorted(lost.items()))
    records = f"{report.stats['records']:,} records"
    yield Text(f"dropped records: {reasons or 'none'} ({records})", style="yellow" if lost else "")
    if report.stats["fell_back"]:
        yield Text(
            "recorded calls without their polls after an overflow (GILSCOPE_RING sets the size)",
            style="yellow",
        )
    if report.out is not None:
        yield Text(f"rows: {report.out}")
    if report.trace is not None:
        yield Text(f"trace: {report.trace} ({_how_to_look(report.trace)})")
    if report.interrupted:
        cancelled = f"{report.counts['cancelled']:,} cancelled"
        yield Text(f"interrupted: {cancelled}; {report.unread}", style="yellow")
    failed = _failed(report)
    if failed:
        yield Text(
            f"error: {failed:,} of {counted(report.counts['done'], 'input')} failed", style="red"
        )


def _failed(report: Report) -> int:
    cancelled = 0 if report.interrupted else report.counts["cancelled"]
    return report.counts["errors"] + cancelled


def _how_to_look(trace: str) -> str:
    if trace.endswith(".jsonl"):
        return f"one record per line; with --trace NAME.json it opens on {_PERFETTO}"
    return f"open {_PERFETTO} and drop the file there"


def _next(report: Report) -> str:
    if _failed(report) and report.out is not None:
        return f"grep '\"ok\":false' {shlex.quote(report.out)} | head"
    if report.trace is None:
        return f"{report.command} --trace trace.json"
    if report.trace.endswith(".jsonl"):
        return f"head -n 3 {shlex.quote(report.trace)}"
    return f"python3 -m webbrowser {_PERFETTO}"


def duration(ns: float) -> str:
    """`ns` nanoseconds in the unit that fits, three digits."""
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if ns < limit:
            return f"{_three(ns / divisor)} {unit}"
    return f"{_three(ns / 1e9)} s" if ns < 120e9 else f"{ns / 60e9:,.1f} min"


def _three(value: float) -> str:
    digits = 0 if value >= 100 or value == 0 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"
