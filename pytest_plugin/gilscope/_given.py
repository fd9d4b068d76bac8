"""Checks of arguments: each failure names the parameter, what is allowed and what was given."""

from __future__ import annotations


def count(what: str, given: object) -> None:
    """Raise TypeError or ValueError unless it is an integer of at least 1."""
    allowed = "an integer of at least 1"
    if not is_a(int, given):
        raise wrong(TypeError, what, allowed, given)
    if isinstance(given, int) and given < 1:
        raise wrong(ValueError, what, allowed, given)


def is_a(kind: type | tuple[type, ...], given: object) -> bool:
    """Whether it is one; True and False are no numbers."""
    return isinstance(given, kind) and not isinstance(given, bool)


def wrong(kind: type[Exception], what: str, allowed: str, given: object) -> Exception:
    """What to raise."""
    of = f" ({type(given).__name__})" if kind is TypeError else ""
    return kind(f"{what} must be {allowed}, not {given!r}{of}")
