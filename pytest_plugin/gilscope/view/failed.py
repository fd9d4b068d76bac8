"""Calls whose status is not `ok`: what failed, with which error, and where it awaited last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from gilscope.view.model import near

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from gilscope.view.model import Trace, Work

# Kinds that are spelled out; the rest are counted.
_KINDS = 3
# Characters of an error, of one that has more lines the first ones, joined.
_ERROR = 160


def kinds(trace: Trace) -> list[list[Work]]:
    """Calls of one function, status and type of error together, those of the most first.

    Without those that had not ended, of which the text says more elsewhere.
    """
    found: dict[tuple[str, str, str], list[Work]] = {}
    for call in trace.calls:
        if call.status != "ok" and call.ended:
            error = (call.error or "").partition(":")[0]
            found.setdefault((call.name, call.status, error), []).append(call)
    return sorted(found.values(), key=lambda calls: -len(calls))


def failed(trace: Trace) -> Iterator[Text]:
    """A line for each of the first kinds; nothing if all calls were ok."""
    if not (found := kinds(trace)):
        return
    more = ", the first of each kind" if any(len(calls) > 1 for calls in found) else ""
    yield Text(f"not ok{more}", style="bold red")
    for calls in found[:_KINDS]:
        yield from _kind(calls)
    if rest := found[_KINDS:]:
        count = sum(map(len, rest))
        yield Text(f"  … and {count:,} of {len(rest):,} other {'kinds' if rest[1:] else 'kind'}")


def _kind(calls: Sequence[Work]) -> Iterator[Text]:
    call = calls[0]
    text = Text(f"  {call.name}", style="bold").append(f"  {call.status}", style="red")
    if len(calls) > 1:
        text.append(f" (the first of {len(calls):,})", style="not bold")
    yield text.append(f", id {call.id}", style="dim not bold")
    if call.error:
        flat = " ".join(call.error.split())
        yield Text(f"      {flat[:_ERROR]}{'…' if len(flat) > _ERROR else ''}", style="red")
    places = [piece.at for piece in call.pieces if piece.kind == "suspended" and piece.at]
    if places:
        yield Text(f"      awaited last at {near(places[-1])}", style="dim")
