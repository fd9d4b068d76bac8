"""`gilscope view`: a trace file as text, as a page, or in Perfetto."""

from __future__ import annotations

import io
import os
import sys
import webbrowser
from typing import TYPE_CHECKING

import click
from rich.console import Console

from gilscope._shell import pasted
from gilscope._units import printable
from gilscope.cli.errors import Refused, os_reason, say_error
from gilscope.cli.options import Command

if TYPE_CHECKING:
    from gilscope.view.model import Trace

_HELP = """\
Show where the time went in TRACE, a file that `gilscope run --trace` or `gilscope.trace` wrote.

Without an option it prints text: findings first, then the slowest calls, then percentiles.

\b
  gilscope view trace.jsonl                 the text
  gilscope view trace.jsonl --html          a page, trace.html, for a browser; needs no network
  gilscope view trace.jsonl --perfetto      in https://ui.perfetto.dev, served from this machine

\b
How to read a call:
  shop.order  15.4 ms  began at 66 µs, id 9e7f9dfa1a0ec589
  ├─ rust enqueue          52 µs   0.3 %        rust: time on the Rust side
  ├─ py   poll 1         2.18 ms  14.0 %  ███   py: Python had the loop thread
  └─ wait suspended      6.10 ms  40.0 %  ████  wait: it awaited, at the place named

Both formats are read: JSON lines, which say most, and Chrome JSON. The parts of a call follow
each other and add up to it; docs/spans.md says what each of them is, docs/view.md shows the
pictures.

Exit code: 0 when TRACE was shown, 1 when it is cut off and was shown as far as it goes, 2 when
it is no trace.
"""


@click.command(
    cls=Command,
    help=_HELP,
    short_help="Show a trace: as text, as a page, or in Perfetto.",
    epilog="next: gilscope view trace.jsonl --html",
)
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
@click.option(
    "--perfetto",
    is_flag=False,
    flag_value="",
    metavar="[=OUT]",
    help="Serve the trace once, on loopback, to https://ui.perfetto.dev; with OUT write the file.",
)
def view(trace: str, slowest: int, html: str | None, perfetto: str | None) -> int:
    """Read the file, then show it."""
    from gilscope.view.errors import BadTrace
    from gilscope.view.reading import read

    if html is not None and perfetto is not None:
        raise Refused("--html and --perfetto do not go together", "ask for one after the other")
    try:
        with Console(stderr=True).status("reading"):  # seen on a terminal alone
            found = read(trace)
        if html is not None:
            code = _write_page(found, html or f"{os.path.splitext(trace)[0]}.html")
        elif perfetto is not None:
            code = _to_perfetto(found, perfetto)
        else:
            code = _print(found, slowest)
    except BadTrace as bad:
        raise Refused(bad.message, bad.hint) from None
    if found.cut:
        say_error(found.cut)
        return code or 1
    return code


# So much of a file's begin and of its end says who wrote it.
_END = 4096


def _print(found: Trace, slowest: int) -> int:
    from gilscope.view.terminal import lines

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # bars, in a locale that has none
    console = Console(highlight=False, emoji=False)
    for line in lines(found, slowest=slowest):
        console.print(line, soft_wrap=True)
    return 0


def _write_page(found: Trace, out: str) -> int:
    from gilscope.view.html import MARK, page

    _write(found, out, "--html", page(found), MARK)
    click.echo(printable(f"page: {out}"))
    click.echo(f"next: xdg-open {pasted(out)}")
    return 0


def _to_perfetto(found: Trace, out: str) -> int:
    from gilscope.view.perfetto import MARK, convert
    from gilscope.view.serve import PAGE, Server

    converted = convert(found)
    if converted.left_out:
        count = converted.left_out
        what = "call or task is" if count == 1 else f"{count:,} calls and tasks are"
        click.echo(f"note: the oldest {what} left out", err=True)
    if out:
        _write(found, out, "--perfetto", converted.text, MARK)
        click.echo(printable(f"trace: {out}"))
        click.echo(f"next: open {PAGE} and drop the file there")
        return 0
    server = Server(converted.text)
    try:
        click.echo(f"next: open {server.address}")
        click.echo("served once, on loopback alone; Ctrl-C ends it", err=True)
        if sys.stdout.isatty() and (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
            webbrowser.open(server.address)
        server.serve()
    except KeyboardInterrupt:
        click.echo("stopped: nobody took the trace", err=True)
        return 130
    click.echo("the page has it", err=True)
    return 0


def _write(found: Trace, out: str, option: str, text: str, mark: str) -> None:
    if os.path.realpath(out) == os.path.realpath(found.path):
        raise Refused(f"{option} would replace the trace {found.path}", "name another file")
    try:
        if not _may_replace(out, mark):
            wrote = f"which no {option} of gilscope wrote"
            raise Refused(f"{option} would replace {out}, {wrote}", "name another file")
        with open(out, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise Refused(f"cannot write {out}: {os_reason(error)}") from None


def _may_replace(out: str, mark: str) -> bool:
    """Whether nothing is lost there but what this option wrote, which has `mark` at an end."""
    if not os.path.isfile(out):
        return True  # also a pipe or a device
    with open(out, "rb") as file:
        head = file.read(_END)
        file.seek(max(os.path.getsize(out) - _END, 0))
        return not head or mark.encode() in head + file.read(_END)
