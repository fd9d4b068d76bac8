"""The life of one call as a tree across both languages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.text import Text

from gilscope._units import duration
from gilscope.view.model import Piece, Work, near

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.view.busy import Busy
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


def tree(call: Work, zero: int, waits: Waits, busy: Busy) -> Iterator[Text]:
    """Lines for a call: its pieces in order, tasks and inner calls where they began."""
    text = _title(call)
    text.append(f"  began at {duration(max(call.start - zero, 0))}", style="dim")
    yield text.append(f", id {call.id}", style="dim")
    yield from _error(call, "")
    yield from _Tree(call, waits, busy).branches(call, "", 0)


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


class _Tree:
    """The branches of one call; shares are of its whole time."""

    def __init__(self, call: Work, waits: Waits, busy: Busy) -> None:
        self._whole = call.duration or 1
        self._waits = waits
        self._busy = busy

    def branches(self, work: Work, indent: str, depth: int) -> Iterator[Text]:
        branches: list[tuple[int, int, Piece | Work | str]] = []
        pieces, left_out = _longest([piece for piece in work.pieces if piece.end > piece.start])
        branches += [(piece.start, 0, piece) for piece in pieces]
        shown = [(part, took) for part, took in work.totals.items() if took]
        whole = self._whole
        branches += [(0, i, _total(part, took, whole)) for i, (part, took) in enumerate(shown)]
        children = work.children[:_CHILDREN] if depth < _DEPTH else []
        branches += [(child.start, 1, child) for child in children]
        branches.sort(key=lambda branch: branch[:2])
        if left_out:
            branches.append((work.end, 2, left_out))
        if len(work.children) > len(children):
            more = f"… {len(work.children) - len(children):,} more tasks and calls inside"
            branches.append((work.end, 3, more))
        if not work.ended:
            branches.append((work.end, 4, "… not ended: what came after is not in the file"))
        for number, (_, _, branch) in enumerate(branches):
            last = number == len(branches) - 1
            stem, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
            line = Text(indent + stem, style="dim")
            if isinstance(branch, Piece):
                yield line.append_text(self._piece(work, branch, len(indent)))
            elif isinstance(branch, str):
                yield line.append(branch, style="not dim")
            else:
                yield line.append_text(_child(branch))
                yield from _error(branch, indent + below)
                yield from self.branches(branch, indent + below, depth + 1)

    def _piece(self, work: Work, piece: Piece, shift: int) -> Text:
        side, took = SIDES[piece.kind], piece.end - piece.start
        text = Text(f"{side:<5}", style=_COLOURS[side])
        label = f"{piece.kind} {piece.number}" if piece.kind == "poll" else piece.kind
        text.append(f"{label:<{max(_LABEL - shift - 8, 12)}}", style="default not dim")
        share = took / self._whole
        text.append(f"{duration(took):>9} {100 * share:>5.1f} %  ", style="default not dim")
        text.append(bar(share), style=_COLOURS[side])
        if piece.at:
            text.append(f" at {near(piece.at)}", style="default not dim")
        if piece.awaits:
            text.append(f"{',' if piece.at else ''} awaits {piece.awaits}", style="default not dim")
        if piece.wake is not None and piece.start <= piece.wake <= piece.end:
            text.append(f", woken {duration(piece.end - piece.wake)} before its turn", style="dim")
        if piece.cpu:
            text.append(f" {duration(piece.cpu)} of processor time", style="dim")
        if says_much(took, self._whole) and (why := self._busy.why(work, piece)):
            text.append(f" {why}", style="default not dim")
        waited = self._waits.within(work.lane, piece.start, piece.end)
        if piece.kind == "suspended" and says_much(waited, took):
            text.append(f", the loop waited {duration(waited)} of it for the GIL", style="red")
        return text


def _child(work: Work) -> Text:
    text = Text("rust " if work.kind == "call" else "py   ", style="not dim")
    return text.append(f"{work.kind} ", style="not dim").append_text(_title(work))


def says_much(took: int, whole: int) -> bool:
    """Whether it is worth a line: a hundredth of the whole."""
    return 100 * took >= whole > 0


def _total(part: str, took: int, whole: int) -> str:
    return f"{SIDES[part]:<5}{part:<{_LABEL - 8}}{duration(took):>9} {100 * took / whole:>5.1f} %"


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
