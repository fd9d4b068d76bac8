"""What the record of a run lacks, why, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gilscope._units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# In the order in which a call passes them; `call` is their sum.
PARTS = ("enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback")
# The largest ring there is.
_MOST = 1 << 24
# What each reason loses.
_UNITS = {"ring": "record", "side": "error text", "sink": "span", "open": "call"}


def dropped(stats: Mapping[str, Any]) -> dict[str, int]:
    """What the record lacks, by reason; what was not exported is in it all the same."""
    return {
        reason: stats["dropped"][reason] for reason in sorted(_UNITS) if stats["dropped"][reason]
    }


def dropped_line(stats: Mapping[str, Any]) -> str:
    """How much was dropped, each in its own unit."""
    lost = [
        f"{counted(count, _UNITS[reason])} by {reason}" for reason, count in dropped(stats).items()
    ]
    read = f"{counted(stats['records'], 'ring slot')} read"
    return f"dropped: {', '.join(lost) or 'none'} ({read})"


def remedies(stats: Mapping[str, Any], trace: str | None) -> Iterator[str]:
    """What to do about each reason; `trace` names the file if it was written without an error."""
    lost = dropped(stats)
    if "ring" in lost:
        slots = stats["ring_slots"]
        more = f"GILSCOPE_RING={2 * slots} doubles it"
        most = "which is the most; GILSCOPE_DETAIL=call needs fewer"
        yield f"  ring: it has {slots:,} slots, {more if slots < _MOST else most}"
    if "sink" in lost and trace is not None and not trace.endswith(".jsonl"):
        yield (
            "  sink: a Chrome trace ends at 400,000 events, calls and findings after that are not "
            "in it; --trace NAME.jsonl takes all"
        )


def left_out(stats: Mapping[str, Any]) -> str | None:
    """Why the parts do not add up to the calls, if so much is missing that the table shows it."""
    if dropped(stats).keys() & {"ring", "open"}:
        return "what was dropped is not in this table"
    if stats["detail"] == "call":
        return "GILSCOPE_DETAIL=call: the parts are in a trace alone, gilscope view shows them"
    parts = stats["parts"]
    missing = parts["call"]["sum_ns"] - sum(parts[part]["sum_ns"] for part in PARTS)
    share = missing / parts["call"]["sum_ns"] if missing > 0 else 0.0
    if share < 0.0005:
        return None
    return f"not in the parts: {100 * share:.1f} %, of calls that were given up"
