"""How to go on after a run: the command that is its last line, and what is said of its files."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from gilscope._shell import pasted
from gilscope.cli.losses import dropped

if TYPE_CHECKING:
    from gilscope.cli.summary import Report


def next_command(report: Report) -> str:
    """What to type next. It names no file that is not there, but for the trace it would write."""
    asked = report.asked
    if report.failed() and asked.out is not None and _is_file(report.out):
        return f"grep '\"ok\":false' {pasted(asked.out)} | head"
    if not report.calls:
        # Whose help shows inputs.
        return asked.command() if report.interrupted else "gilscope run --help"
    if report.is_off():
        return f"GILSCOPE_DETAIL=full {asked.command()}"
    if asked.trace is None or not report.traced:
        return asked.command()
    return _viewer(report) or asked.command(asked.fresh())


def trace_line(report: Report) -> str:
    """Where the trace is, and how to look at it."""
    return f"trace: {report.asked.trace} ({_how_to_look(report)})"


def _how_to_look(report: Report) -> str:
    if report.is_off():
        return "empty"
    if not report.calls:
        return "no call is in it"
    viewer = _viewer(report)
    if viewer is None:
        return "nothing was written" if _is_file(report.trace) else "no file that can be viewed"
    return viewer if report.traced and not dropped(report.stats) else f"incomplete; {viewer}"


def _viewer(report: Report) -> str | None:
    """The command that shows the trace; None where it cannot be read again."""
    path, named = report.trace, report.asked.trace
    if path is None or named is None or not _is_file(path) or not os.path.getsize(path):
        return None
    return f"gilscope view {pasted(named)}"


def _is_file(path: str | None) -> bool:
    return path is not None and os.path.isfile(path)
