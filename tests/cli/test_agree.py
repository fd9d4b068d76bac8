"""What a run says in numbers is what `gilscope view` says of its trace, or the run says why not."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from .conftest import TIMEOUT
from .test_interrupt import ended, wait_for_rows

if TYPE_CHECKING:
    from .conftest import Cli

FUNCTIONS = """
import asyncio
import time
import gilscope

async def mixed(x):
    if x == 0:
        await asyncio.Event().wait()  # until its deadline
    if x == 1:
        raise ValueError("no")
    if x == 2:
        return {1}  # no result that JSON can hold
    if x == 3:
        raise asyncio.CancelledError
    return x

async def inner(x):
    if x % 2:
        raise ValueError("no")
    return x

async def nested(x):
    try:
        return await gilscope.py_runtime().call_async(inner, x)
    except ValueError:
        return "caught"

async def hogs(x):
    await asyncio.sleep(0.1)
    time.sleep(0.03)

async def fine(x):
    await asyncio.sleep(0)

async def waits(x):
    if x:
        await asyncio.Event().wait()

async def holds(x):
    if x == 3:
        await asyncio.sleep(0)
        time.sleep(3600)
    if x:
        await asyncio.Event().wait()
"""
STATED = r"^recorded: ([\d,]+) calls?(?:, [\d,]+ of them made inside others)?; not ok: (.*)$"


def of_run(err: str) -> tuple[str, str]:
    """Calls, and those that were not ok, as a run says that they were recorded."""
    if found := re.search(STATED, err, re.MULTILINE):
        return found[1], found[2]
    found = re.search(r"^([\d,]+) calls? in ", err, re.MULTILINE)
    assert found is not None, err
    return found[1], "none"


def seconds(shown: str) -> float:
    value, unit = shown.split()
    return round(float(value) * {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "s": 1}[unit], 1)


def of_view(cli: Cli, trace: str) -> tuple[str, str]:
    """The same, as `gilscope view` says it."""
    out = cli("view", trace).out
    calls = re.match(r"([\d,]+) calls? in ", out)
    bad = re.search(r"^not ok: [\d,]+ of [\d,]+ calls?: (.*)$", out, re.MULTILINE)
    assert calls is not None, out
    return calls[1], bad[1] if bad else "none"


@pytest.mark.parametrize("trace", ["t.json", "t.jsonl"])
@pytest.mark.parametrize(
    ("function", "given", "headline", "recorded"),
    [
        ("fine", "0\n", "1 call in ", ("1", "none")),
        (
            "mixed",
            "0\n1\n2\n3\n4\nnot JSON\n",
            "5 calls in ",
            ("5", "2 error, 1 cancelled_by_callee, 1 deadline"),
        ),
        ("nested", "0\n1\n2\n", "3 calls in ", ("6", "1 error")),
    ],
)
def test_calls_and_failures(
    cli: Cli, trace: str, function: str, given: str, headline: str, recorded: tuple[str, str]
) -> None:
    cli.write("app.py", FUNCTIONS)
    args = ("run", f"app.py:{function}", "--input", "-", "--deadline", "0.3", "--trace", trace)
    done = cli(*args, stdin=given.encode())
    assert done.err.startswith(headline), done.err
    assert of_run(done.err) == of_view(cli, trace) == recorded
    assert ("\nno JSON, so no call: 1 input\n" in done.err) is ("not JSON" in given)
    assert (", 3 of them made inside others; " in done.err) is (function == "nested")


@pytest.mark.parametrize("traced", [True, False])
def test_what_is_counted_otherwise_is_said(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, traced: bool
) -> None:
    monkeypatch.setenv("GILSCOPE_SLOW_POLL", "20ms")
    cli.write("app.py", FUNCTIONS)
    args = ("--input", "functions.py:ten", *(("--trace", "t.jsonl") if traced else ()))
    err = cli("run", "app.py:hogs", *args).err
    # Of ten polls each of which keeps the next one waiting the trace has the first.
    alike = re.match(r"finding: GS03 .* \(the worst of (\d+) like it", err)
    assert alike is not None, err
    assert ("like it; the trace has the first, and each twice as bad)\n" in err) is traced
    by_itself = (
        "\neach poll and each wait is by itself here; gilscope view adds up those of a call\n"
    )
    assert (by_itself in err) is traced
    if traced:
        shown = re.search(r"^findings: (\d+)$", cli("view", "t.jsonl").out, re.MULTILINE)
        assert shown is not None
        assert int(shown[1]) < int(alike[1])


@pytest.mark.parametrize("trace", ["t.json", "t.jsonl"])
@pytest.mark.parametrize("function", ["waits", "holds"])
def test_calls_that_ctrl_c_cancelled(cli: Cli, trace: str, function: str) -> None:
    cli.write("app.py", FUNCTIONS)
    args = ("--concurrency", "4", "--out", "rows", "--trace", trace)
    with ended(
        cli.start("run", f"app.py:{function}", "--input", "functions.py:endless", *args)
    ) as process:
        wait_for_rows(process, cli.folder / "rows", 1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=TIMEOUT)
    assert process.returncode == 130, err
    calls, bad = of_run(err.decode())
    took = re.search(r"^\d+ calls in ([\d.]+ \w+) from ", err.decode(), re.MULTILINE)
    longest = re.search(r"^call +\d+(?: +\S+ \S+){2} +([\d.]+ \w+) ", err.decode(), re.MULTILINE)
    assert int(calls) > 1
    assert bad != "none"
    assert (calls, bad) == of_view(cli, trace)
    assert took is not None
    assert longest is not None
    assert seconds(took[1]) >= seconds(longest[1])
