"""The life of one call as a tree across both languages."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from rich.text import Text

from gilscope._units import duration
from gilscope.view.model import Piece, Work

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.view.loops import Waits

# Whose time a part is. While a call is suspended it is nobody's: it awaits.
SIDES = {
    "enqueue": "rust",
    "queued": "rust",
    "gil.wait": "rust",
    "ready": "py",
    "poll": "py",
    "suspended": "wait",
    "callback": "rust",
}
_COLOURS = {"rust": "yellow", "py": "blue", "wait": "dim"}
# Of a call with many polls, so many pieces are shown: the longest.
_PIECES = 12
_CHILDREN = 8
_DEPTH = 6
_BAR = 20
# Where the columns of times begin; what is nested deeper moves them.
_LABEL = 34


def tree(call: Work, zero: int, waits: Waits) -> Iterator[Text]:
    """Lines for a call: its pieces in order, tasks and inner calls where they began."""
    text = _title(call)
    text.append(f"  began at {duration(max(call.start - zero, 0))}", style="dim")
    yield text.append(f", id {call.id}", style="dim")
    yield from _error(call, "")
    yield from _branches(call, waits, call.duration or 1, "", 0)


def _title(work: Work) -> Text:
    text = Text(work.name, style="bold")
    text.append(f"  {duration(work.duration)}", style="not bold")
    if work.status != "ok":
        text.append(f"  {work.status}", style="red")
    if work.flags:
        text.append(f"  ({', '.join(work.flags)})", style="yellow")
    return text


def _error(work: Work, indent: str) -> Iterator[Text]:
    if work.error:
        flat = " ".join(work.error.split())
        yield Text(f"{indent}│  {flat[:160]}{'…' if len(flat) > 160 else ''}", style="red")


def _branches(work: Work, waits: Waits, whole: int, indent: str, depth: int) -> Iterator[Text]:
    branches: list[tuple[int, int, Piece | Work | str]] = []
    pieces, left_out = _longest([piece for piece in work.pieces if piece.end > piece.start])
    branches += [(piece.start, 0, piece) for piece in pieces]
    if work.totals:
        shown = [(part, took) for part, took in work.totals.items() if took]
        branches += [(0, i, _total(part, took, whole)) for i, (part, took) in enumerate(shown)]
    children = work.children[:_CHILDREN] if depth < _DEPTH else []
    branches += [(child.start, 1, child) for child in children]
    branches.sort(key=lambda branch: branch[:2])
    if left_out:
        branches.append((work.end, 2, left_out))
    if len(work.children) > len(children):
        more = f"… {len(work.children) - len(children):,} more tasks and calls inside"
        branches.append((work.end, 3, more))
    for number, (_, _, branch) in enumerate(branches):
        last = number == len(branches) - 1
        stem, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
        if isinstance(branch, Piece):
            waited = waits.within(work.lane, branch.start, branch.end)
            line = Text(indent + stem, style="dim")
            yield line.append_text(_piece(branch, whole, len(indent), waited))
        else:
            yield from _branch(branch, waits, whole, indent, stem, below, depth)


def _branch(
    branch: Work | str, waits: Waits, whole: int, indent: str, stem: str, below: str, depth: int
) -> Iterator[Text]:
    line = Text(indent + stem, style="dim")
    if isinstance(branch, str):
        yield line.append(branch, style="not dim")
    else:
        line.append("rust " if branch.kind == "call" else "py   ", style="not dim")
        line.append(f"{branch.kind} ", style="not dim").append_text(_title(branch))
        yield line
        yield from _error(branch, indent + below)
        yield from _branches(branch, waits, whole, indent + below, depth + 1)


def _piece(piece: Piece, whole: int, shift: int, waited: int) -> Text:
    side = SIDES[piece.kind]
    text = Text(f"{side:<5}", style=_COLOURS[side])
    label = f"{piece.kind} {piece.number}" if piece.kind == "poll" else piece.kind
    took = piece.end - piece.start
    text.append(f"{label:<{max(_LABEL - shift - 8, 12)}}", style="default not dim")
    text.append(f"{duration(took):>9} {100 * took / whole:>5.1f} %  ", style="default not dim")
    text.append(bar(took / whole), style=_COLOURS[side])
    if piece.at:
        text.append(f" at {_near(piece.at)}", style="default not dim")
    if piece.awaits:
        text.append(f"{',' if piece.at else ''} awaits {piece.awaits}", style="default not dim")
    if piece.wake is not None and piece.start <= piece.wake <= piece.end:
        text.append(f", woken {duration(piece.end - piece.wake)} before its turn", style="dim")
    if piece.cpu:
        text.append(f" {duration(piece.cpu)} of processor time", style="dim")
    if piece.kind == "suspended" and says_much(waited, took):
        text.append(f", the loop waited {duration(waited)} of it for the GIL", style="red")
    return text


def says_much(waited: int, suspended: int) -> bool:
    """Whether it is worth a line how much of `suspended` the loop waited for the GIL."""
    return 100 * waited >= suspended > 0


def _total(part: str, took: int, whole: int) -> str:
    return f"{SIDES[part]:<5}{part:<{_LABEL - 8}}{duration(took):>9} {100 * took / whole:>5.1f} %"


def _near(place: str) -> str:
    """`place` without what says little: the current folder, or where packages are installed."""
    return place.rpartition("/site-packages/")[2].removeprefix(os.getcwd() + os.sep)


def bar(share: float) -> str:
    """`share` of a full bar, in eighths of a character."""
    eighths = round(min(max(share, 0.0), 1.0) * _BAR * 8)
    return "█" * (eighths // 8) + (" ▏▎▍▌▋▊▉"[eighths % 8] if eighths % 8 else "")


def _longest(pieces: list[Piece]) -> tuple[list[Piece], str]:
    """The pieces to show, and what to say of the rest."""
    if len(pieces) <= _PIECES:
        return pieces, ""
    ranked = sorted(pieces, key=lambda piece: piece.start - piece.end)
    kept, rest = ranked[:_PIECES], ranked[_PIECES:]
    polls = sum(piece.kind == "poll" for piece in rest)
    took = sum(piece.end - piece.start for piece in rest)
    return kept, f"… {len(rest):,} shorter pieces, {polls:,} of them polls, {duration(took)} in all"
