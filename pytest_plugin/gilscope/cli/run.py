"""`gilscope run`: what it is asked for, checked before the first call."""

from __future__ import annotations

import fcntl
import os
import sys

import click

from gilscope.cli.checks import (
    check_deadline,
    check_different,
    check_folder,
    check_function,
    check_named,
    check_writable,
    open_output,
)
from gilscope.cli.errors import Refused, os_reason
from gilscope.cli.execute import Plan, execute
from gilscope.cli.inputs import open_source
from gilscope.cli.interrupt import ignore_in_the_end
from gilscope.cli.options import Command, Count
from gilscope.cli.paste import CONCURRENCY, Again
from gilscope.cli.replace import check_replaceable
from gilscope.cli.targets import load

_HELP = """\
Call an async function once per input, from Rust, and say where the time went.

FUNCTION is MODULE_OR_FILE:NAME, such as app.py:fetch. It gets each input as its one argument; what
it returns has to fit into JSON.

INPUT is a file of JSON lines (input i is line i + 1; a line that is not JSON, also an empty one,
gets an error row), or - for standard input, or MODULE_OR_FILE:NAME of a generator, an async
generator, or anything else that can be iterated.

\b
Example:
  printf '%s\\n' 'import gilscope' \\
      'async def nap(seconds):' \\
      '    await gilscope.rust.sleep(seconds)' \\
      '    return f"slept {seconds} s"' > nap.py
  printf '0.1\\n0.2\\n' | gilscope run nap.py:nap --input - --trace trace.jsonl
  gilscope view trace.jsonl

Every input gets a row, one line of JSON, in the order in which the calls end. Rows go to standard
output; what FUNCTION prints, and the summary at the end, go to standard error:

\b
  {"index":0,"ok":true,"result":[1,2],"ms":0.41}
  {"index":1,"ok":false,"error":{"type":"ValueError","message":"no",
   "at":"/home/me/app.py:7 in fun"},"ms":0.38}

`at` is where FUNCTION raised: the innermost frame that is neither in Python's own library nor in an
installed package, if there is one; null where no Python code of yours raised. The error of an
exception group has `inside`, the first eight exceptions in it, each with type, message and at, and
`more`, how many more there are; the summary counts it as the first of them.

Exit code: 0 when every call succeeded, 1 when some input failed, 2 when the run was refused before
any call, 130 after Ctrl-C and 143 after SIGTERM: calls that run are cancelled, and every input that
was read has its row. A second signal leaves at once, as does a first one when FUNCTION, or an async
generator, holds its event loop for 3 s.

The summary says how long each part of the calls took. They follow each other and add up to a call:

\b
  enqueue    until the queue took it
  queued     until the loop woke up
  gil.wait   until the loop's thread had the GIL
  ready      until the first step
  poll       all steps that ran
  suspended  all waits between them, at an `await`
  callback   until the outcome was delivered

p50 and p99 are upper bounds, at most 12.5 % too high. docs/spans.md has the details, and
docs/findings.md says what a `finding:` is.

--out and --trace replace a file that is empty or that a run wrote, and no other.

\b
Environment:
  GILSCOPE_DETAIL  full (default), call (one span per call) or off (nothing)
  GILSCOPE_RING    slots between loop and record (65536); what does not fit is dropped
  GILSCOPE_REDACT  1 keeps messages of exceptions out of the trace, not of rows
  GILSCOPE_SLOW    from when on a wait is a finding (50ms)
  GILSCOPE_TREE    0 has it answer no `gilscope tree`, which it does otherwise while it runs
"""


@click.command(
    cls=Command,
    help=_HELP,
    short_help="Call an async function once per input, from Rust.",
    epilog="next: gilscope view --help",
)
@click.argument("function")
@click.option(
    "--input",
    "source",
    required=True,
    metavar="INPUT",
    help="A file of JSON lines, - for standard input, or FILE.py:NAME of a generator.",
)
@click.option(
    "--concurrency",
    type=Count(1, 1_000_000),
    default=CONCURRENCY,
    show_default=True,
    metavar="N",
    help="How many calls may be under way at once.",
)
@click.option(
    "--deadline",
    type=float,
    metavar="S",
    help="Seconds that a call may take; one that takes longer is cancelled, and fails.",
)
@click.option("--out", metavar="FILE", help="Write the rows there, not to standard output.")
@click.option(
    "--trace",
    metavar="FILE",
    help="Write what happened, for `gilscope view`: a name that ends in .jsonl takes all of a long "
    "run; another gets Chrome/Perfetto JSON, which ends at 400,000 events.",
)
@click.option(
    "--otlp",
    is_flag=False,
    flag_value="",
    metavar="[=URL]",
    help="Export to an OpenTelemetry collector; without URL to the one that OTEL_EXPORTER_OTLP_... "
    "name, else to one on this machine.",
)
def run(
    function: str,
    source: str,
    concurrency: int,
    deadline: float | None,
    out: str | None,
    trace: str | None,
    otlp: str | None,
) -> int:
    """Check everything that can be checked, then run."""
    ignore_in_the_end()
    _have_stderr()
    check_deadline(deadline)
    check_named({"--input": source, "--out": out, "--trace": trace})
    _check_files(source, out, trace)
    out_path, trace_path = _from_here(out), _from_here(trace)  # user code may change the folder
    if out_path is None:
        out_fd = _rows_to_stdout()  # before user code is imported, which may print
    fun = load(function, "FUNCTION")
    check_function(function, fun)
    opened = open_source(source)
    if out_path is not None:
        out_fd = open_output("--out", out_path)
    assert callable(fun)
    again = Again(function, source, concurrency, deadline, out, trace, otlp)
    return execute(Plan(again, fun, opened, out_path, trace_path, out_fd))


def _check_files(source: str, out: str | None, trace: str | None) -> None:
    """Refuse what cannot be written, and what would be lost if it were."""
    check_folder()
    check_different(
        {
            "standard input" if source == "-" else "--input": 0 if source == "-" else source,
            "standard output" if out is None else "--out": 1 if out is None else out,
            "--trace": trace,
        }
    )
    for option, path in (("--out", out), ("--trace", trace)):
        check_writable(option, path)
        check_replaceable(option, path)


def _from_here(path: str | None) -> str | None:
    return None if path is None else os.path.abspath(path)


def _have_stderr() -> None:
    """Give a closed standard error somewhere to go: the next file opened would be taken for it."""
    try:
        os.fstat(2)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        if nowhere != 2:
            os.dup2(nowhere, 2)
            os.close(nowhere)
        os.set_inheritable(2, True)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115


def _rows_to_stdout() -> int:
    """Keep standard output for rows alone: what user code prints goes to stderr."""
    try:
        if sys.stdout is not None:  # as it is where it was closed
            sys.stdout.flush()
        # Not the number of a standard stream that is closed: it would be taken for that stream.
        rows = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
        os.dup2(2, 1)
    except OSError as error:
        raise Refused(f"cannot write to standard output: {os_reason(error)}") from None
    return rows
