"""`gilscope view`: a trace file as text, as a page, or in Perfetto."""

from __future__ import annotations

import io
import sys

import click
from rich.console import Console

from gilscope.cli.errors import Refused

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
def view(trace: str, slowest: int) -> int:
    """Read the file, then show it."""
    from gilscope.view.errors import BadTrace
    from gilscope.view.reading import read

    try:
        found = read(trace)
    except BadTrace as bad:
        raise Refused(bad.message, bad.hint) from None
    from gilscope.view.terminal import lines

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars, in a locale that has none
    console = Console(highlight=False, emoji=False)
    for line in lines(found, slowest=slowest):
        console.print(line, soft_wrap=True)
    return 0
