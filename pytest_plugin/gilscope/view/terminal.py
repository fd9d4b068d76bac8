"""A trace as text: findings first, then the slowest calls as trees, then percentiles."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.text import Text

from gilscope._units import counted, duration, printable
from gilscope.view.loops import Waits, loops
from gilscope.view.numbers import rows
from gilscope.view.numbers import slowest as slowest_of
from gilscope.view.tree import says_much, tree

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gilscope.view.loops import Loop
    from gilscope.view.model import Finding, Trace
    from gilscope.view.numbers import Row

# How a trace comes to have calls in it.
_RECORD = "gilscope run FILE.py:FUNCTION --input inputs.jsonl --trace trace.jsonl"
# Findings of one id that are spelled out; the rest are counted.
_OF_ONE_ID = 3
# The innermost frames of a stack.
_FRAMES = 4
# Loop threads with a row of their own; the rest are counted.
_LOOPS = 8


def lines(trace: Trace, *, slowest: int) -> Iterator[Text]:
    """The whole text, line by line. No character in it moves a terminal's cursor."""
    for line in _lines(trace, slowest):
        line.plain = printable(line.plain)
        line.rstrip()
        yield line


def _lines(trace: Trace, slowest: int) -> Iterator[Text]:
    yield from _headline(trace)
    yield Text()
    yield from _findings(trace.findings)
    waits = Waits(trace)
    if slowest and trace.calls:
        yield from _slowest(trace, waits, slowest)
    if trace.calls:
        yield from _rows(trace, waits)
    yield from _loops(loops(trace))
    if not trace.calls and not trace.cut:
        yield Text("no call was recorded: make some while the trace is open", style="yellow")
        yield Text(f"next: {_RECORD}", style="bold")
        return
    yield Text(f"next: gilscope view {shlex.quote(trace.path)} --html", style="bold")


def _headline(trace: Trace) -> Iterator[Text]:
    start, end = trace.bounds()
    text = Text(counted(len(trace.calls), "call"), style="bold")
    loops = counted(len(trace.lanes()), "loop thread")
    rest = f" in {duration(end - start)} on {loops}"
    if trace.tasks:
        rest += f", with {counted(len(trace.tasks), 'task')}"
    text.append(f"{rest}; {counted(trace.spans, 'span')}", style="not bold")
    yield text
    failed: dict[str, int] = {}
    for call in trace.calls:
        if call.status != "ok":
            failed[call.status] = failed.get(call.status, 0) + 1
    if failed:
        each = [f"{count:,} {status}" for status, count in sorted(failed.items())]
        yield Text(f"not ok: {', '.join(each)}", style="red")
    for note in trace.notes:
        yield Text(f"note: {note}", style="yellow")


def _findings(findings: Sequence[Finding]) -> Iterator[Text]:
    if not findings:
        yield Text("findings: none in this trace", style="green")
        yield Text()
        return
    yield Text(f"findings: {len(findings):,}", style="bold red")
    by_id: dict[str, list[Finding]] = {}
    for finding in findings:
        by_id.setdefault(finding.id, []).append(finding)
    for same in by_id.values():
        same.sort(key=lambda finding: -finding.duration)
        for finding in same[:_OF_ONE_ID]:
            yield from _finding(finding)
        if len(same) > _OF_ONE_ID:
            yield Text(f"    … and {len(same) - _OF_ONE_ID:,} more of {same[0].id}, shorter")
        if same[0].hint:
            yield Text(f"    hint: {same[0].hint}", style="cyan")
    yield Text()


def _finding(finding: Finding) -> Iterator[Text]:
    text = Text("  ").append(finding.id, style="bold red").append(f" {finding.name}", style="red")
    yield text.append(f"  {finding.sentence}", style="default")
    for frame in finding.stack[:_FRAMES]:
        yield Text(f"      {frame}", style="dim")
    if len(finding.stack) > _FRAMES:
        yield Text(f"      … {len(finding.stack) - _FRAMES} more", style="dim")
    if finding.call:
        yield Text(f"      call {finding.call}", style="dim")


def _slowest(trace: Trace, waits: Waits, count: int) -> Iterator[Text]:
    start, _ = trace.bounds()
    shown = slowest_of(trace.calls, count)
    if len(trace.calls) > len(shown):
        title = f"the {counted(len(shown), 'slowest call')} of {len(trace.calls):,}"
        title = title.replace("1 slowest", "slowest")
    else:
        title = "calls, the slowest first"
    yield Text(title, style="bold")
    for call in shown:
        yield from tree(call, start, waits)
        yield Text()


def _rows(trace: Trace, waits: Waits) -> Iterator[Text]:
    head = ("p50", "p90", "p99", "max", "share")
    yield _cells("part of a call", *head, style="bold")
    for row in rows(trace.calls):
        label = row.name if row.name == "call" else f"  {row.name}"
        times = [duration(took) for took in (row.p50, row.p90, row.p99, row.max)]
        yield _cells(label, *times, f"{100 * row.share:.1f} %")
        if row.name == "suspended":
            yield from _suspended(waits.within_suspended(trace.calls), row)
    yield Text()


def _suspended(waited: int, row: Row) -> Iterator[Text]:
    """What a table of parts would hide: a wait for the GIL while calls await is none of theirs."""
    if says_much(waited, row.sum):
        share = f"{100 * row.share * waited / row.sum:.1f} %"
        text = f"    of suspended, the loop waited {duration(waited)} for the GIL: {share}"
        yield Text(text, style="red")


def _loops(all_loops: Sequence[Loop]) -> Iterator[Text]:
    if not all_loops:
        return
    yield _cells(
        "loop thread", "turns", "time", "CPU", "GIL waits", "longest", "share", style="bold"
    )
    shown = sorted(all_loops, key=lambda loop: -loop.held - (loop.waited or 0))[:_LOOPS]
    for loop in sorted(shown, key=lambda loop: loop.lane):
        known = loop.waited is not None
        waits = (duration(loop.waited or 0), duration(loop.longest), f"{100 * loop.share:.1f} %")
        times = (duration(loop.held), duration(loop.cpu), *(waits if known else "---"))
        yield _cells(loop.lane[1], f"{loop.turns:,}", *times)
    if len(all_loops) > len(shown):
        yield Text(f"  … and {counted(len(all_loops) - len(shown), 'loop thread')} that did less")
    yield Text()


def _cells(label: str, *cells: str, style: str = "") -> Text:
    return Text(f"{label:<16}" + "".join(f" {cell:>10}" for cell in cells), style=style)
