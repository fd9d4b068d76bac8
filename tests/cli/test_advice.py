"""What a run that shows little is told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Cli

FUNCTIONS = """
import asyncio

def none():
    return []

def plain(x):
    return x

async def instant(x):
    return x

class Callable:
    async def __call__(self, x):
        return x

called = Callable()

def awaited(x):
    return asyncio.sleep(0.001)
"""
NO_CALL = "nothing was recorded, as no call was made: "


@pytest.mark.parametrize("detail", ["off", "call", "full"])
@pytest.mark.parametrize(
    ("source", "stdin", "why"),
    [
        ("-", b"", "standard input gave no input; write one line of JSON for each"),
        ("empty", b"", "empty gave no input; write one line of JSON for each"),
        ("app.py:none", b"", "app.py:none gave no input; yield one item for each"),
        (
            "-",
            b"ada\nbob\n",
            "no line of standard input is JSON; write one value a line, a text in quotes",
        ),
    ],
)
def test_a_run_without_a_call_says_why_and_what_to_do(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, detail: str, source: str, stdin: bytes, why: str
) -> None:
    monkeypatch.setenv("GILSCOPE_DETAIL", detail)
    cli.write("app.py", FUNCTIONS)
    cli.write("empty", "")
    args = ("run", "app.py:instant", "--input", source, "--trace", "t.jsonl")
    done = cli(*args, stdin=stdin)
    assert done.code == (1 if stdin else 0)
    lines = done.err.splitlines()
    assert [line for line in lines if line.startswith("nothing")] == [NO_CALL + why]
    assert lines[-1] == "next: gilscope run --help"
    assert ("trace: t.jsonl (no call is in it)" in lines) is (detail != "off")


@pytest.mark.parametrize(
    ("function", "detail", "told"),
    [
        ("plain", "full", True),
        ("instant", "full", False),
        ("called", "full", False),
        ("awaited", "full", False),
        # What was recorded does not say whether a call awaited anything.
        ("awaited", "call", False),
        ("awaited", "off", False),
    ],
)
def test_a_function_that_is_not_async_is_told_of(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, function: str, detail: str, told: bool
) -> None:
    monkeypatch.setenv("GILSCOPE_DETAIL", detail)
    cli.write("app.py", FUNCTIONS)
    done = cli("run", f"app.py:{function}", "--input", "-", stdin=b"1\n2\n")
    assert done.code == 0
    note = (
        f"note: app.py:{function} is not async, and no call awaited anything: they ran one after "
        "the other, each holding the event loop; make it `async def`, and await what takes time"
    )
    assert [line for line in done.err.splitlines() if "async" in line] == [note] * told
