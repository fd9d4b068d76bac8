"""`gilscope run`: Rust tasks call an async function once per input."""

from __future__ import annotations

import json
import os
import shlex
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from gilscope.cli.checks import (
    check_deadline,
    check_different,
    check_function,
    check_writable,
    open_output,
)
from gilscope.cli.errors import Refused, counted, describe, os_reason, say_error
from gilscope.cli.inputs import InputFailed, Unusable, open_source
from gilscope.cli.targets import load

if TYPE_CHECKING:
    from collections.abc import Callable

    from gilscope._native import Batch
    from gilscope.cli.inputs import Source
    from gilscope.cli.interrupt import Interrupt

_HELP = """\
Call an async function once per input, from Rust, and say where the time went.

FUNCTION is MODULE_OR_FILE:NAME. It gets each input as its one argument; what it returns has to fit
into JSON. Every input gets one line of JSON, in the order in which the calls end:

\b
  {"index":0,"ok":true,"result":[1,2],"ms":0.41}
  {"index":1,"ok":false,"error":{"type":"ValueError","message":"no"},"ms":0.38}

INPUT is a file of JSON lines (input i is line i + 1; a line that is not JSON, also an empty one,
gets an error row), or - for standard input, or MODULE_OR_FILE:NAME of a generator, an async
generator, or anything else that can be iterated.

\b
Example:
  echo 'import gilscope
  async def nap(seconds):
      await gilscope.rust.sleep(seconds)
      return f"slept {seconds} s"' > nap.py
  printf '0.1\\n0.2\\n' | gilscope run nap.py:nap --input - --trace trace.json

Exit code: 0 when every call succeeded, 1 when some input failed, 2 when the run was refused before
any call, 130 after Ctrl-C (a second one stops at once, without the missing rows).
"""


@dataclass(slots=True)
class _Plan:
    """One run, checked."""

    fun: Callable[[Any], object]
    source: Source
    concurrency: int
    deadline: float | None
    out: str | None
    trace: str | None
    out_fd: int
    unusable: Counter[str] = field(default_factory=Counter)


@click.command(help=_HELP, short_help="Call an async function once per input, from Rust.")
@click.argument("function")
@click.option(
    "--input",
    "source",
    required=True,
    metavar="INPUT",
    help="A JSON-lines file, -, or a generator.",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 1_000_000),
    default=64,
    show_default=True,
    metavar="N",
    help="How many calls may run at once.",
)
@click.option("--deadline", type=float, metavar="S", help="Seconds that a call may take.")
@click.option("--out", metavar="FILE", help="Where the rows go, instead of standard output.")
@click.option(
    "--trace",
    metavar="FILE",
    help="Write a trace: records for a name that ends in .jsonl, else Chrome/Perfetto JSON.",
)
def run(
    function: str,
    source: str,
    concurrency: int,
    deadline: float | None,
    out: str | None,
    trace: str | None,
) -> int:
    """Check everything that can be checked, then run."""
    check_deadline(deadline)
    fun = load(function, "FUNCTION")
    check_function(function, fun)
    opened = open_source(source)
    check_different({"--input": source, "--out": out, "--trace": trace})
    check_writable("--trace", trace)
    out_fd = _rows_to_stdout() if out is None else open_output("--out", out, truncate=True)
    assert callable(fun)
    plan = _Plan(fun, opened, concurrency, deadline, out, trace, out_fd)
    return _execute(plan, f"gilscope run {shlex.quote(function)} --input {shlex.quote(source)}")


def _rows_to_stdout() -> int:
    """Keep standard output for rows alone: what the function prints goes to stderr."""
    try:
        sys.stdout.flush()
        rows = os.dup(1)
        os.dup2(2, 1)
    except OSError as error:
        raise Refused(f"cannot write to standard output: {os_reason(error)}") from None
    return rows


def _execute(plan: _Plan, command: str) -> int:
    # Here, so that `gilscope --help` and a refused run load neither.
    from gilscope import _native, py_runtime
    from gilscope.cli.interrupt import Interrupt

    runtime = py_runtime()
    recording = None if plan.trace is None else _start_trace(plan.trace)
    batch = _native.Batch(
        runtime, plan.fun, plan.concurrency, plan.deadline, plan.out_fd, encode=encode
    )
    with Interrupt(batch.cancel) as interrupt:
        try:
            return _drive(plan, batch, interrupt, recording, command)
        except KeyboardInterrupt:
            say_error("interrupted again: stopped at once, rows may be missing")
            return 130
        except Refused:
            batch.cancel()
            raise
        except OSError as error:
            batch.cancel()
            say_error(f"cannot write the rows: {os_reason(error)}")
            return 1


def _drive(
    plan: _Plan, batch: Batch, interrupt: Interrupt, recording: int | None, command: str
) -> int:
    """Feed, wait, close down, report; in this order, so that the report has everything."""
    from gilscope import _native, py_runtime
    from gilscope.cli.progress import progress_bar
    from gilscope.cli.summary import Report, print_summary

    start = time.monotonic()
    with progress_bar(batch.progress, plan.source.total, plan.out_fd):
        failed = _feed(plan, batch, interrupt)
        batch.finish()
        _wait(batch, interrupt)
    seconds = time.monotonic() - start
    interrupted = interrupt.requested
    py_runtime().shutdown("cancel", deadline=5.0)
    if recording is not None and not _stop_trace(recording, plan):
        failed = True
    counts, stats = batch.progress(), _native.stats()
    report = Report(
        counts=counts,
        stats=stats,
        seconds=seconds,
        concurrency=plan.concurrency,
        command=command,
        out=plan.out,
        trace=plan.trace,
        calls=counts["done"] - plan.unusable.total(),
        errors=plan.unusable + Counter(stats["errors"]),
        interrupted=interrupted,
    )
    print_summary(report)
    return _exit_code(counts, failed=failed, interrupted=interrupted)


def _wait(batch: Batch, interrupt: Interrupt) -> None:
    """Wait for the last row; says why when calls are slow to be cancelled."""
    patience = 2.0
    while not batch.wait(0.1):
        if interrupt.requested and patience > 0:
            patience -= 0.1
            if patience <= 0:
                click.echo("cancelled calls are still cleaning up; Ctrl-C stops at once", err=True)


def _feed(plan: _Plan, batch: Batch, interrupt: Interrupt) -> bool:
    """Feed every input; returns whether the source failed on the way."""
    index = 0
    try:
        for index, item in enumerate(plan.source.read(interrupt), start=1):
            if isinstance(item, Unusable):
                plan.unusable[item.type] += 1
                going = batch.feed_error(index - 1, item.type, item.message)
            else:
                going = batch.feed(index - 1, item)
            if going is False:
                break
    except InputFailed as failed:
        if index == 0:
            raise Refused(str(failed)) from failed
        say_error(f"{failed}, after {counted(index, 'input')}")
        return True
    return False


def encode(value: object) -> str:
    """One result as JSON; raises `ResultError` for what JSON cannot hold."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        from gilscope import ResultError

        raise ResultError(f"JSON cannot hold the result: {describe(error)}") from None


def _start_trace(path: str) -> int:
    from gilscope import _native

    try:
        return _native.trace_start(path)
    except OSError as error:
        raise Refused(f"cannot write --trace {path}: {os_reason(error)}") from None


def _stop_trace(recording: int, plan: _Plan) -> bool:
    from gilscope import _native

    try:
        _native.trace_stop(recording)
    except OSError as error:
        say_error(f"cannot write --trace {plan.trace}: {os_reason(error)}")
        return False
    return True


def _exit_code(counts: dict[str, int], *, failed: bool, interrupted: bool) -> int:
    if interrupted:
        return 130
    return 1 if failed or counts["errors"] or counts["cancelled"] else 0
