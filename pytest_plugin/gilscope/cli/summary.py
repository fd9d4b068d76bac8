"""The summary on stderr: where the time went, what failed, what was lost, what to type next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from gilscope._units import counted, duration, printable
from gilscope.cli.advice import no_call
from gilscope.cli.findings import findings_lines
from gilscope.cli.losses import PARTS, dropped, dropped_line, left_out, remedies
from gilscope.cli.next_command import next_command, trace_line

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from gilscope.cli.paste import Again

_SLOWEST = 5
# From this share on, waits for the GIL are pointed out.
_MUCH = 0.1
# Quantiles are upper bounds, those of a histogram's bucket.
_TIMES = ("p50 ≤", "p99 ≤", "max", "sum")


@dataclass(slots=True)
class Report:
    """What a run has to say."""

    asked: Again
    """What was asked for."""
    counts: dict[str, int]
    """Of inputs."""
    calls: int
    """That were made of inputs."""
    unusable: int
    """Inputs that no call could be made of."""
    stats: dict[str, Any]
    seconds: float
    out: str | None
    trace: str | None
    """Paths that are right in any folder."""
    traced: bool
    """Whether the trace could be written."""
    export: Mapping[str, Any] | None
    """Spans that were exported, and lost, by reason."""
    errors: Mapping[str, int]
    interrupted: bool
    unread: str
    note: str | None
    """What is to be said of the function."""

    def is_off(self) -> bool:
        """Whether nothing was recorded."""
        return bool(self.stats["detail"] == "off")

    def failed(self) -> int:
        """Inputs that failed; what was asked for did not."""
        return self.counts["errors"] + (0 if self.interrupted else self.counts["cancelled"])


def print_summary(report: Report) -> None:
    """Write the summary to stderr, in colour where that is wanted.

    Names are the user code's own: no character of one reaches the terminal's controls.
    """
    console = Console(stderr=True, highlight=False, emoji=False)
    for line in _lines(report):
        line.plain = printable(line.plain)
        console.print(line, soft_wrap=True)


def _lines(report: Report) -> Iterator[Text]:
    whole = report.trace is not None and "sink" not in dropped(report.stats)
    yield from findings_lines(report.stats["findings"], traced=whole)
    yield from _headline(report)
    yield from _errors(report)
    yield Text()
    if not report.calls:
        yield Text(no_call(report.asked.input, report.counts, report.interrupted), style="yellow")
    elif report.is_off():
        yield Text("nothing was recorded: GILSCOPE_DETAIL=off", style="yellow")
    else:
        yield from _parts(report.stats, traced=report.trace is not None)
        yield from _functions(report.stats["functions"])
    if report.note is not None:
        yield Text(f"note: {report.note}", style="yellow")
    yield from _rest(report)
    yield Text(f"next: {next_command(report)}", style="bold")


def _headline(report: Report) -> Iterator[Text]:
    counts, calls = report.counts, counted(report.calls, "call")
    took = f" in {duration(report.seconds * 1e9)} from the first input to the last row"
    speed = (
        f", {rate_of(report.calls, report.seconds)}, at most {report.asked.concurrency:,} at once"
    )
    text = Text(calls + took + speed if report.calls else calls)
    text.stylize("bold", 0, len(calls))
    yield text
    text = Text(f"{counted(counts['done'], 'input')}: {counts['ok']:,} ok")
    errors, cancelled = counts["errors"], counts["cancelled"]
    text.append(f", {counted(errors, 'error')}", style="red" if errors else "")
    text.append(f", {cancelled:,} cancelled", style="yellow" if cancelled else "")
    if unstarted := counts["unstarted"]:
        text.append(f", {unstarted:,} of them before {'it' if unstarted == 1 else 'they'} started")
    yield text
    if report.calls:
        yield from _recorded(report)


def rate_of(calls: int, seconds: float) -> str:
    """How many calls a second, also where that is less than one."""
    rate = calls / seconds if seconds > 0 else 0.0
    shown = f"{rate:,.0f}" if rate >= 10 or not rate else f"{rate:.2g}"
    return f"{shown} {'call' if shown == '1' else 'calls'}/s"


def _recorded(report: Report) -> Iterator[Text]:
    """Why the tables, and `gilscope view`, do not count what was counted of inputs."""
    if (none := report.unusable) > 0:
        yield Text(f"no JSON, so no call: {counted(none, 'input')}")
    recorded, by_status = report.stats["calls"], report.stats["by_status"]
    if report.is_off() or (recorded == report.calls and by_status.keys() <= {"ok"}):
        return
    text = f"recorded: {counted(recorded, 'call')}"
    if recorded > report.calls:
        text += f", {recorded - report.calls:,} of them made inside others"
    elif recorded < report.calls:
        text = f"recorded: {recorded:,} of {counted(report.calls, 'call')}"
    failed = sorted((-count, status) for status, count in by_status.items() if status != "ok")
    bad = [f"{-count:,} {status}" for count, status in failed]
    yield Text(f"{text}; not ok: {', '.join(bad) or 'none'}")


def _errors(report: Report) -> Iterator[Text]:
    for name, count in sorted(report.errors.items(), key=lambda item: (-item[1], item[0])):
        yield Text(f"  {count:>8,}  {name}", style="red")


def _parts(stats: Mapping[str, Any], *, traced: bool) -> Iterator[Text]:
    parts = stats["parts"]
    if not parts["call"]["count"]:
        return
    whole = parts["call"]["sum_ns"] or 1
    yield _row("part of a call", "count", *_TIMES, "share", style="bold")
    recorded = any(parts[name]["count"] for name in PARTS)
    for name in ("call", *(PARTS if recorded else ())):
        part = parts[name]
        label = name if name == "call" else f"  {name}"
        times = [duration(part[key]) for key in ("p50_ns", "p99_ns", "max_ns", "sum_ns")]
        yield _row(label, f"{part['count']:,}", *times, f"{100 * part['sum_ns'] / whole:.1f} %")
    yield from loops_lines(stats)
    if traced and any(parts[part]["count"] > parts["call"]["count"] for part in PARTS):
        yield Text(
            "each poll and each wait is by itself here; gilscope view adds up those of a call"
        )
    if missing := left_out(stats):
        yield Text(missing, style="yellow")
    yield Text()


def loops_lines(stats: Mapping[str, Any]) -> Iterator[Text]:
    """The sum of many short waits for the GIL is in no finding, and those in awaits in no part."""
    held, waits = stats["parts"]["loop.turn"]["sum_ns"], stats["gil_wait"]
    if not stats["turns"]:
        return
    waited = waits["sum_ns"]
    share = waited / (waited + held or 1)
    text = f"loop thread: {duration(held)} in {counted(stats['turns'], 'turn')}"
    text += f", {duration(stats['cpu_ns'])} of it CPU; waited {duration(waited)} for the GIL"
    text += f", {100 * share:.1f} % of its time (longest {duration(waits['max_ns'])})"
    yield Text(text, style="yellow" if share >= _MUCH else "")


def _functions(functions: list[Mapping[str, Any]]) -> Iterator[Text]:
    called = [function for function in functions if function["calls"]]
    slowest = sorted(called, key=lambda function: -function["p99_ns"])[:_SLOWEST]
    if not slowest:
        return
    yield _row("slowest functions", "calls", *_TIMES, "not ok", style="bold")
    for function in slowest:
        times = [duration(function[key]) for key in ("p50_ns", "p99_ns", "max_ns", "sum_ns")]
        # Cancelled ones, too: it is the word for both in the lines above.
        bad = f"{function['errors']:,}"
        yield _row(f"{function['name']}", f"{function['calls']:,}", *times, bad)
    yield Text()


def _row(label: str, *cells: str, style: str = "") -> Text:
    return Text(f"{label:<24}" + "".join(f" {cell:>10}" for cell in cells), style=style)


def _rest(report: Report) -> Iterator[Text]:
    if not report.is_off():
        lost = dropped(report.stats)
        yield Text(dropped_line(report.stats), style="yellow" if lost else "")
        for remedy in remedies(report.stats, report.asked.trace if report.traced else None):
            yield Text(remedy, style="yellow")
    if report.stats["fell_back"]:
        yield Text("recorded calls without their polls after an overflow", style="yellow")
    if report.asked.out is not None:
        yield Text(f"rows: {report.asked.out}")
    if report.asked.trace is not None:
        yield Text(trace_line(report))
    if report.export is not None:
        yield _exported(report.export)
    if report.interrupted:
        cancelled = f"{report.counts['cancelled']:,} cancelled"
        yield Text(f"interrupted: {cancelled}; {report.unread}", style="yellow")
    if failed := report.failed():
        yield Text(
            f"error: {failed:,} of {counted(report.counts['done'], 'input')} failed", style="red"
        )


def _exported(counts: Mapping[str, Any]) -> Text:
    if counts["disabled"]:
        return Text("exported: nothing, since OTEL_SDK_DISABLED is set", style="yellow")
    lost = counts["lost"]
    text = f"exported: {counted(counts['exported'], 'span')}, lost: {lost or 'none'}"
    if not lost:
        return Text(text)
    why = f"{counts['failure']}, " if counts["failure"] else ""
    return Text(f"{text} ({why}{counts['to']})", style="yellow")
