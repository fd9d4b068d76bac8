"""Times as people read them, and texts as a terminal may."""

from __future__ import annotations


def duration(ns: float) -> str:
    """`ns` nanoseconds in the unit that fits, three digits."""
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (1e9, 1e6, "ms")):
        if ns < limit:
            return f"{_three(ns / divisor)} {unit}"
    return f"{_three(ns / 1e9)} s" if ns < 120e9 else f"{ns / 60e9:,.1f} min"


def _three(value: float) -> str:
    digits = 0 if value >= 100 or value == 0 else 1 if value >= 10 else 2
    return f"{value:.{digits}f}"


def counted(count: int, word: str) -> str:
    """`1 call`, `2 calls`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def printable(text: str) -> str:
    """`text` of one line in which no character moves a terminal's cursor, or asks it for more."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)
