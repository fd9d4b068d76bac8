"""One run: feed, wait, stop, report. Whatever ends it, rows and trace are whole."""

from __future__ import annotations

import json
import os
import stat
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gilscope._units import counted
from gilscope.cli.errors import Refused, describe, os_reason, say_error
from gilscope.cli.inputs import InputFailed, Unusable
from gilscope.cli.interrupt import Interrupt
from gilscope.cli.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable

    from gilscope._native import Batch, Export, Tree
    from gilscope.cli.inputs import Source
    from gilscope.cli.paste import Again

# Seconds that rows may take to be written once every call has its outcome.
_ROWS = 5.0


@dataclass(slots=True)
class Plan:
    """One run, checked."""

    asked: Again
    """What was asked for, in the words of whoever did."""
    fun: Callable[[Any], object]
    source: Source
    out: str | None
    trace: str | None
    """Paths that are right in any folder."""
    out_fd: int
    unusable: int = 0
    """Inputs that no call could be made of."""


@dataclass(slots=True)
class _Fed:
    """How the feeding ended."""

    failed: bool = False
    all: bool = False
    """Whether the source said that there is no more."""


# What answers `gilscope tree`, if it does.
_answering: Tree | None = None


def execute(plan: Plan) -> int:
    """Run it and return the exit code."""
    _answer()
    try:
        return _execute(plan)
    finally:
        _answer_no_more()


def _execute(plan: Plan) -> int:
    # Here, so that `gilscope --help` and a refused run load neither.
    from gilscope import _native, py_runtime

    runtime, asked = py_runtime(), plan.asked
    watch = _native.Watch()
    # Before the trace begins: from there on a signal raises nothing here, so that it also ends.
    with Interrupt(after=lambda number, frame: _leave(130)) as interrupt:
        export = None if asked.otlp is None else _start_export(asked.otlp)
        recording = None if plan.trace is None else _start_trace(plan)
        try:
            batch = _native.Batch(
                runtime,
                plan.fun,
                asked.concurrency,
                asked.deadline,
                plan.out_fd,
                encode=encode,
            )
            interrupt.cancels(batch.cancel)
            fed, joined, start = _Fed(), False, time.monotonic()
            try:
                written = _call(plan, batch, interrupt, fed)
            finally:
                seconds, done = time.monotonic() - start, _rows_are_done(batch, 0)
                joined = _stop(batch, interrupt)
                if not done:  # the last row came with the end of the runtime
                    seconds = time.monotonic() - start
        finally:
            if export is not None:
                export.close()
            watch.close()
            traced = recording is None or _stop_trace(recording, plan)
        code = _exit_code(batch.progress(), fed.failed or not traced or not written, interrupt)
        try:
            if written:
                _report(plan, batch, interrupt, fed, seconds, traced, export)
        finally:
            if interrupt.again or (interrupt.requested and not joined):
                _leave(code)
    return code


def _call(plan: Plan, batch: Batch, interrupt: Interrupt, fed: _Fed) -> bool:
    """Make the calls; returns whether the rows could be written."""
    from gilscope.cli.progress import progress_bar

    try:
        with progress_bar(batch.progress, plan.source.total, plan.out_fd):
            _feed(plan, batch, interrupt, fed)
            batch.finish()
            patience = Patience(batch, interrupt, plan.asked.function)
            while not batch.wait(0.1) and patience.lasts():
                pass
    except OSError as error:
        batch.cancel()
        say_error(f"cannot write the rows: {os_reason(error)}")
        return False
    except BaseException:
        batch.cancel()
        raise
    return True


def _feed(plan: Plan, batch: Batch, interrupt: Interrupt, fed: _Fed) -> None:
    """Feed every input."""
    index = 0
    try:
        for index, item in enumerate(plan.source.read(interrupt), start=1):
            if index == 1:
                _empty(plan)
            if isinstance(item, Unusable):
                plan.unusable += 1
                going = batch.feed_error(index - 1, item.type, item.message)
            else:
                going = batch.feed(index - 1, item)
            if going is False:
                return
        if index == 0:
            _empty(plan)
        fed.all = not interrupt.requested
    except InputFailed as failed:
        if index == 0 and not interrupt.requested:
            raise Refused(str(failed)) from failed
        say_error(f"{failed}, after {counted(index, 'input')}")
        fed.failed = True


def _empty(plan: Plan) -> None:
    """Begin with the rows: what stood there is lost only now, when nothing refuses the run."""
    if plan.out is not None and stat.S_ISREG(os.fstat(plan.out_fd).st_mode):
        os.ftruncate(plan.out_fd, 0)


def _stop(batch: Batch, interrupt: Interrupt) -> bool:
    """Stop the runtime, so that every input that was fed has its row; whether its thread ended."""
    from gilscope import py_runtime

    batch.finish()
    if not interrupt.requested or _rows_are_done(batch, 0):
        patience = 1.0 if interrupt.requested else 5.0
        return bool(py_runtime().shutdown("cancel", deadline=patience)["joined"])
    # Frees the callers also while somebody's code holds the loop.
    joined = bool(py_runtime().shutdown("abort", deadline=0.2)["joined"])
    if not _rows_are_done(batch, _ROWS):
        say_error("rows are missing: what they are written to does not take them")
    return joined


def _rows_are_done(batch: Batch, timeout: float) -> bool:
    """Whether they are written, or cannot be, which has been told then."""
    try:
        return batch.wait(timeout)
    except OSError:
        return True


def encode(value: object) -> str:
    """One result as JSON; raises `ResultError` for what JSON cannot hold."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError, RecursionError) as error:
        from gilscope import ResultError

        raise ResultError(f"JSON cannot hold the result: {describe(error)}") from None


def _start_trace(plan: Plan) -> int:
    from gilscope import _native

    try:
        return _native.trace_start(plan.trace)
    except OSError as error:
        raise Refused(f"cannot write --trace {plan.asked.trace}: {os_reason(error)}") from None


def _start_export(endpoint: str) -> Export:
    from gilscope import _native

    try:
        return _native.Export(endpoint or None)
    except ValueError as error:
        raise Refused(f"cannot export: {error}") from None


def _stop_trace(recording: int, plan: Plan) -> bool:
    from gilscope import _native

    try:
        _native.trace_stop(recording)
    except OSError as error:
        say_error(f"cannot write --trace {plan.asked.trace}: {os_reason(error)}")
        return False
    return True


def _report(
    plan: Plan,
    batch: Batch,
    interrupt: Interrupt,
    fed: _Fed,
    seconds: float,
    traced: bool,
    export: Export | None,
) -> None:
    from gilscope import _native
    from gilscope.cli.advice import not_async
    from gilscope.cli.summary import Report, print_summary

    counts, stats = batch.progress(), _native.stats()
    report = Report(
        counts=counts,
        stats=stats,
        seconds=seconds,
        asked=plan.asked,
        out=plan.out,
        trace=plan.trace,
        traced=traced,
        export=None if export is None else export.counts(),
        calls=counts["done"] - plan.unusable - counts["unstarted"],
        unusable=plan.unusable,
        errors=batch.failed(),
        interrupted=interrupt.requested,
        unread=_unread(plan, counts["fed"], fed) if interrupt.requested else "",
        note=not_async(plan.asked.function, plan.fun, stats),
    )
    print_summary(report)


def _unread(plan: Plan, read: int, fed: _Fed) -> str:
    """What Ctrl-C left unread."""
    total = plan.source.total
    if fed.all or read == total:
        return "every input was read"
    if total is None or fed.failed:
        rest = "standard input" if plan.asked.input == "-" else plan.asked.input
        return f"stopped after {counted(read, 'input')}, the rest of {rest} was not read"
    left = total - read
    unread = f"{left:,} {'was' if left == 1 else 'were'} not read"
    return f"stopped after {read:,} of {counted(total, 'input')}, {unread}"


def _exit_code(counts: dict[str, int], failed: bool, interrupt: Interrupt) -> int:
    if interrupt.requested:
        return interrupt.code
    return 1 if failed or counts["errors"] or counts["cancelled"] else 0


def _answer() -> None:
    """Answer `gilscope tree`, where that can be done and is not switched off."""
    global _answering
    from gilscope import _native

    if os.environ.get("GILSCOPE_TREE") != "0":
        with suppress(OSError):
            _answering = _native.Tree()


def _answer_no_more() -> None:
    if _answering is not None:
        _answering.close()


def _leave(code: int) -> None:
    """End the process now: rows and trace are written, and threads of user code hold it up."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):  # nobody reads it any more, or the user's code closed it
            stream.flush()
    _answer_no_more()
    os._exit(code)
