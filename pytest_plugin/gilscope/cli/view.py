"""`gilscope view`: a trace file as text, as a page, or in Perfetto."""

from __future__ import annotations

import io
import os
import shlex
import sys
from typing import TYPE_CHECKING

import click
from rich.console import Console

from gilscope.cli.errors import Refused, os_reason

if TYPE_CHECKING:
    from gilscope.view.model import Trace

_HELP = """\
Show where the time went in TRACE, a file that `gilscope run --trace` or `gilscope.trace` wrote.

Without an option it prints text: findings first, then the slowest calls, then percentiles.

\b
  gilscope view trace.jsonl                 the text
  gilscope view trace.jsonl --html          a page, trace.html, for a browser; needs no network

\b
How to read a call:
  shop.order  15.4 ms  began at 66 µs, id 9e7f9dfa1a0ec589
  ├─ rust enqueue          52 µs   0.3 %        rust: time on the Rust side
  ├─ py   poll 1         2.18 ms  14.0 %  ███   py: Python had the loop thread
  └─ wait suspended      6.10 ms  40.0 %  ████  wait: it awaited, at the place named

Both formats are read: JSON lines, which say most, and Chrome JSON. The parts of a call follow
each other and add up to it; docs/spans.md says what each of them is, docs/view.md shows the
pictures.

Exit code: 0 when something was shown, 2 when TRACE is no trace.
"""


@click.command(help=_HELP, short_help="Show a trace: as text, as a page, or in Perfetto.")
@click.argument("trace")
@click.option(
    "--slowest",
    type=click.IntRange(0, 1000),
    default=3,
    show_default=True,
    metavar="N",
    help="How many of the slowest calls are shown as trees.",
)
@click.option(
    "--html",
    is_flag=False,
    flag_value="",
    metavar="[=OUT]",
    help="Write a page for a browser; without OUT beside the trace, as TRACE.html.",
)
def view(trace: str, slowest: int, html: str | None) -> int:
    """Read the file, then show it."""
    from gilscope.view.errors import BadTrace
    from gilscope.view.reading import read

    try:
        found = read(trace)
    except BadTrace as bad:
        raise Refused(bad.message, bad.hint) from None
    if html is not None:
        return _write_page(found, html or f"{os.path.splitext(trace)[0]}.html")
    return _print(found, slowest)


def _print(found: Trace, slowest: int) -> int:
    from gilscope.view.terminal import lines

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars, in a locale that has none
    console = Console(highlight=False, emoji=False)
    for line in lines(found, slowest=slowest):
        console.print(line, soft_wrap=True)
    return 0


def _write_page(found: Trace, out: str) -> int:
    from gilscope.view.html import page

    if os.path.realpath(out) == os.path.realpath(found.path):
        raise Refused(f"--html would replace the trace {found.path}", "name another file")
    try:
        with open(out, "w", encoding="utf-8") as file:
            file.write(page(found))
    except OSError as error:
        raise Refused(f"cannot write {out}: {os_reason(error)}") from None
    click.echo(f"page: {out}")
    click.echo(f"next: xdg-open {shlex.quote(out)}")
    return 0
