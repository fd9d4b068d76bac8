"""What a record may hold: each field is taken as what it has to be, or the record is refused.

A file may look like ours and be another tool's, or damaged. What is read here goes through sums,
tables and pictures, none of which asks again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gilscope.view.errors import Foreign

Record = Mapping[str, Any]

# Nanoseconds and counts of ours have 64 bits.
_MOST = 1 << 63


def record(value: Any, name: str = "it") -> Record:
    """`value`, which has to be an object."""
    if not isinstance(value, dict):
        raise Foreign(f"{name} is no object")
    return value


def inner(line: Record, key: str) -> Record:
    """The object at `key`; an empty one where there is none."""
    value = line.get(key)
    return {} if value is None else record(value, f"`{key}`")


def text(line: Record, key: str) -> str | None:
    """The text at `key`; None where there is none, or it is empty."""
    value = line.get(key)
    if value is not None and not isinstance(value, str):
        raise Foreign(f"`{key}` is no text")
    return value or None


def needed(line: Record, key: str) -> str:
    """The text at `key`, without which the record says nothing."""
    value = text(line, key)
    if value is None:
        raise Foreign(f"`{key}` is missing")
    return value


def texts(line: Record, key: str) -> list[str]:
    """The list of texts at `key`; our own files for Perfetto have them in one, with commas."""
    value = line.get(key)
    if isinstance(value, str):
        return value.split(", ") if value else []
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Foreign(f"`{key}` is no list of texts")
    return value


def number(line: Record, key: str, scale: int = 1) -> int | None:
    """The number at `key` times `scale`, as a whole one; None where there is none."""
    value = line.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Foreign(f"`{key}` is no number")
    if not abs(value) * scale < _MOST:  # also what is no number at all, NaN
        raise Foreign(f"`{key}` is too large")
    return round(value * scale)


def count(line: Record, key: str, scale: int = 1) -> int:
    """The number at `key`, 0 where there is none; it cannot be below that."""
    value = number(line, key, scale) or 0
    if value < 0:
        raise Foreign(f"`{key}` is negative")
    return value


def time(line: Record, key: str, scale: int = 1) -> int:
    """The moment at `key`, in nanoseconds if a unit of it has `scale` of them."""
    value = number(line, key, scale)
    if value is None:
        raise Foreign(f"`{key}` is missing")
    return value


def error_text(line: Record, key: str = "error") -> str | None:
    """`Type: message` of what a call raised."""
    if isinstance(line.get(key), str):
        return text(line, key)
    if line.get(key) is None:
        return None
    error = inner(line, key)
    name, message = text(error, "type") or "error", text(error, "message")
    return f"{name}: {message}" if message else name
