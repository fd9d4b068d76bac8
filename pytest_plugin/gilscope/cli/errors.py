"""How the command line refuses, and how it says so: in one clear line."""

from __future__ import annotations

import os
import traceback
from typing import TYPE_CHECKING

import click

from gilscope._units import printable

if TYPE_CHECKING:
    from types import TracebackType

_OURSELVES = os.path.dirname(__file__) + os.sep


class Refused(Exception):
    """Something is wrong with what was asked for. Raised before any call; ends in exit code 2."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


def say_error(message: str, hint: str | None = None) -> None:
    """Write one error line to stderr, its hint in the same line."""
    hinted = f" (hint: {printable(hint)})" if hint else ""
    click.echo(f"error: {one_line(message)}{hinted}", err=True)


def one_line(text: str, limit: int = 500) -> str:
    """`text` without line breaks and what controls a terminal, cut at `limit` characters."""
    flat = printable(" ".join(text.split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def describe(error: BaseException) -> str:
    """`Type: message`, also for an exception whose `__str__` raises."""
    try:
        message = str(error)
    except Exception:
        message = "<its __str__ raised>"
    name = type(error).__name__
    return f"{name}: {message}" if message else name


def os_reason(error: OSError) -> str:
    """Why the system refused, in its own words."""
    # One that Rust raised has its whole text, number included, as its one argument.
    return error.strerror or str(error).partition(" (os error ")[0] or describe(error)


def location(trace: TracebackType | None) -> str:
    """` (file, line n)` of the innermost frame, the import system and ourselves apart."""
    frames = [
        frame
        for frame in traceback.extract_tb(trace)
        if not frame.filename.startswith(("<frozen ", _OURSELVES))
    ]
    return f" ({frames[-1].filename}, line {frames[-1].lineno})" if frames else ""
