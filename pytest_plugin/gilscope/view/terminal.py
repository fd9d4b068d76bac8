"""A trace as text: findings first, then the slowest calls as trees, then percentiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from gilscope._shell import pasted
from gilscope._units import counted, duration, printable
from gilscope.view.busy import Busy, longest_poll
from gilscope.view.failed import failed, kinds
from gilscope.view.findings import COUNTED, grouped, longest_first
from gilscope.view.loops import Starts, Waits, loops
from gilscope.view.numbers import not_ok, rows
from gilscope.view.numbers import slowest as slowest_of
from gilscope.view.tree import says_much, tree
from gilscope.view.unended import ended, headline, lacking, life, unended

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from gilscope.view.loops import Loop
    from gilscope.view.model import Finding, Trace
    from gilscope.view.numbers import Row

# How a trace comes to have calls in it.
_RECORD = "gilscope run FILE.py:FUNCTION --input inputs.jsonl --trace trace.jsonl"
# Functions with the finding of one id that are spelled out; the rest are counted.
_OF_ONE_ID = 3
# The innermost frames of a stack.
_FRAMES = 4
# Loop threads with a row of their own; the rest are counted.
_LOOPS = 8
# Of calls that had not ended, so many are named.
_UNENDED = 5
_WAITED = "the loop waited {} for the GIL"
_STARTING = "for {} the loop thread was being started"
# Columns of a table's labels, and as many as a name may make of them.
_LABEL = 16
_WIDEST = 40


def lines(trace: Trace, *, slowest: int) -> Iterator[Text]:
    """The whole text, line by line. No character in it moves a terminal's cursor."""
    first = True
    for section in _sections(trace, slowest):
        for number, line in enumerate(section):
            if not number and not first:
                yield Text()
            first = False
            line.plain = printable(line.plain)
            line.rstrip()
            yield line


def _sections(trace: Trace, slowest: int) -> Iterator[Iterable[Text]]:
    """What is kept apart by an empty line; one that is empty is not there."""
    waits, all_loops = Waits(trace), loops(trace)
    wide = min(max([_LABEL, *(len(loop.lane[1]) for loop in all_loops)]), _WIDEST)
    yield _headline(trace)
    yield _findings(trace.findings)
    yield failed(trace)
    yield _unended(trace)
    if slowest and trace.calls:
        yield from _slowest(trace, waits, slowest)
    yield _rows(trace, waits, wide)
    yield _loops(all_loops, wide)
    yield _next(trace)


def _next(trace: Trace) -> Iterator[Text]:
    known = trace.calls or trace.open or trace.unseen
    if not known and not trace.cut:
        yield Text("no call was recorded: make some while the trace is open", style="yellow")
        yield Text(f"next: {_RECORD}", style="bold")
        return
    text = f"next: gilscope view {pasted(trace.path)} --html"
    if found := kinds(trace):
        text += f"  # each in full: its filter takes a status, {found[0][0].status}"
    yield Text(text, style="bold")


def _headline(trace: Trace) -> Iterator[Text]:
    start, end = trace.bounds()
    text = Text(counted(len(trace.calls), "call"), style="bold")
    loops = counted(len(trace.lanes()), "loop thread")
    rest = f" in {duration(end - start)} on {loops}"
    if trace.tasks:
        rest += f", with {counted(len(trace.tasks), 'task')}"
    text.append(f"{rest}; {counted(trace.spans, 'span')}", style="not bold")
    yield text
    if bad := not_ok(trace.calls):
        each = [f"{count:,} {status}" for status, count in bad.items()]
        count = f"{sum(bad.values()):,} of {counted(len(trace.calls), 'call')}"
        yield Text(f"not ok: {count}: {', '.join(each)}", style="red")
    if longest := longest_poll(trace):
        work, poll = longest
        text = Text(f"longest poll: {work.name}, {duration(poll.end - poll.start)}")
        text.append(f", at {duration(max(poll.start - start, 0))}")
        yield text.append(f", {work.kind} {work.id}", style="dim")
    for note in trace.notes:
        yield Text(f"note: {note}", style="yellow")


def _findings(findings: Sequence[Finding]) -> Iterator[Text]:
    if not findings:
        yield Text("findings: none in this trace", style="green")
        return
    groups = grouped(findings)
    known = longest_first(findings)
    order = ", the longest first" if known and len(groups) > 1 else ""
    yield Text(f"findings: {len(findings):,}{order}", style="bold red")
    yield Text(f"  {COUNTED}", style="dim")
    shown: dict[str, int] = {}
    left_out: dict[str, int] = {}
    for group in groups:
        own = group[0].id
        shown[own] = shown.get(own, 0) + 1
        if shown[own] <= _OF_ONE_ID:
            alike = "the worst" if known else "one"
            yield from _finding(group, alike, hint=shown[own] == 1)
        else:
            left_out[own] = left_out.get(own, 0) + len(group)
    if left_out:
        each = ", ".join(f"{count:,} {own}" for own, count in left_out.items())
        shorter = ", shorter" if known else ""
        yield Text(f"  … and more of other functions{shorter}: {each}")


def _finding(group: Sequence[Finding], alike: str, *, hint: bool) -> Iterator[Text]:
    finding = group[0]
    text = Text("  ").append(finding.id, style="bold red").append(f" {finding.name}", style="red")
    text.append(f"  {finding.sentence}", style="default")
    if len(group) > 1:
        text.append(f" ({alike} of {len(group):,})", style="default")
    yield text
    for frame in finding.stack[:_FRAMES]:
        yield Text(f"      {frame}", style="dim")
    if len(finding.stack) > _FRAMES:
        yield Text(f"      … {len(finding.stack) - _FRAMES} more", style="dim")
    if finding.call:
        yield Text(f"      call {finding.call}", style="dim")
    if finding.hint and hint:
        yield Text(f"    hint: {finding.hint}", style="cyan")


def _unended(trace: Trace) -> Iterator[Text]:
    if not (said := headline(trace)):
        return
    start, _ = trace.bounds()
    calls = unended(trace)
    yield Text(f"not ended: {said}", style="bold yellow")
    for call in calls[:_UNENDED]:
        text = Text(f"  {call.name}", style="bold")
        text.append(f"  {life(call, start)}", style="not bold")
        yield text.append(f", id {call.id}", style="dim not bold")
    if len(calls) > _UNENDED:
        yield Text(f"  … and {counted(len(calls) - _UNENDED, 'call')} that began later")
    for line in lacking(trace):
        yield Text(f"  {line}", style="dim")


def _slowest(trace: Trace, waits: Waits, count: int) -> Iterator[Iterable[Text]]:
    start, _ = trace.bounds()
    calls = ended(trace) or trace.calls
    shown = slowest_of(calls, count)
    if len(calls) > len(shown):
        title = f"the {counted(len(shown), 'slowest call')} of {len(calls):,}"
        title = title.replace("1 slowest", "slowest")
    else:
        title = "calls, the slowest first" if len(shown) > 1 else "the call"
    busy = Busy(trace, shown)
    for number, call in enumerate(shown):
        head = [] if number else [Text(title, style="bold")]
        yield [*head, *tree(call, start, waits, busy)]


def _rows(trace: Trace, waits: Waits, wide: int) -> Iterator[Text]:
    calls = ended(trace)
    if not calls:
        return
    head = ("p50", "p90", "p99", "max", "share")
    yield _cells(wide, "part of a call", *head, style="bold")
    starts = Starts(trace)
    for row in rows(calls):
        label = row.name if row.name == "call" else f"  {row.name}"
        times = [duration(took) for took in (row.p50, row.p90, row.p99, row.max)]
        yield _cells(wide, label, *times, f"{100 * row.share:.1f} %")
        if row.name == "suspended":
            waited = waits.within_suspended(calls)
            what = f"the loop waited {{}} for the GIL, summed over {counted(len(calls), 'call')}"
            yield from _of(row, waited, what if calls[1:] else _WAITED, style="red")
        elif row.name != "call":
            yield from _of(row, starts.within(row.name), _STARTING)
    if left_out := len(trace.calls) - len(calls):
        text = f"  without {counted(left_out, 'call')} that had not ended"
        yield Text(text, style="dim")


def _of(row: Row, took: int, what: str, *, style: str = "dim") -> Iterator[Text]:
    """What a part was that its name does not say, where it is a good part of it."""
    if says_much(took, row.sum):
        share = f"{100 * row.share * took / row.sum:.1f} %"
        yield Text(f"    of {row.name}, {what.format(duration(took))}: {share}", style=style)


def _loops(all_loops: Sequence[Loop], wide: int) -> Iterator[Text]:
    if not all_loops:
        return
    heads = ("turns", "time", "CPU", "GIL waits", "longest", "share")
    yield _cells(wide, "loop thread", *heads, style="bold")
    shown = sorted(all_loops, key=lambda loop: -loop.held - (loop.waited or 0))[:_LOOPS]
    for loop in sorted(shown, key=lambda loop: loop.lane):
        known = loop.waited is not None
        waits = (duration(loop.waited or 0), duration(loop.longest), f"{100 * loop.share:.1f} %")
        times = (duration(loop.held), duration(loop.cpu), *(waits if known else "---"))
        yield _cells(wide, loop.lane[1], f"{loop.turns:,}", *times)
        if says_much(loop.first, loop.held):
            text = f"    of its time, the first turn, in which it starts: {duration(loop.first)}"
            yield Text(text, style="dim")
    if any(loop.waited is not None for loop in shown):
        yield Text("  share: GIL waits, of those and the time of the turns together", style="dim")
    if len(all_loops) > len(shown):
        yield Text(f"  … and {counted(len(all_loops) - len(shown), 'loop thread')} that did less")


def _cells(wide: int, label: str, *cells: str, style: str = "") -> Text:
    short = label if len(label) <= wide else f"{label[: wide - 1]}…"
    return Text(f"{short:<{wide}}" + "".join(f" {cell:>10}" for cell in cells), style=style)
