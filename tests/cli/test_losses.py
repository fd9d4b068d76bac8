"""What the record lacks is told, with the reason and what to do about it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gilscope import stats
from gilscope.cli.losses import PARTS, dropped_line, left_out

if TYPE_CHECKING:
    from .conftest import Cli

OVERFLOW = """
import asyncio
import gilscope

async def until_it_fell(x):
    while not gilscope.stats()["fell_back"]:
        for _ in range(10_000):
            await asyncio.sleep(0)

async def many(x):
    for _ in range(50_000):  # 150,000 of three events each, and more
        await asyncio.sleep(0)
"""


def test_an_overflow_of_the_ring(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GILSCOPE_RING", "64")
    cli.write("overflow.py", OVERFLOW)
    args = ("--input", "functions.py:listed", "--trace", "t.json")
    done = cli("run", "overflow.py:until_it_fell", *args)
    assert done.code == 0, done.err
    assert re.search(r"^dropped: [\d,]+ records by ring ", done.err, re.MULTILINE)
    assert "\n  ring: it has 64 slots, GILSCOPE_RING=128 doubles it\n" in done.err
    assert "recorded calls without their polls after an overflow" in done.err
    assert "\nwhat was dropped is not in this table\n" in done.err
    assert "\ntrace: t.json (incomplete; gilscope view t.json" in done.err
    said = cli.run("double", "ten", "--trace", "t.json").err
    assert not re.search("ring:|recorded calls|this table|incomplete", said)


@pytest.mark.parametrize(
    ("given", "slots"),
    [(None, 65_536), ("100", 128), ("1", 64), ("-1", 65_536), ("1e6", 65_536), ("9" * 9, 1 << 24)],
)
def test_the_size_of_the_ring(
    monkeypatch: pytest.MonkeyPatch, given: str | None, slots: int
) -> None:
    monkeypatch.delenv("GILSCOPE_RING", raising=False)
    if given is not None:
        monkeypatch.setenv("GILSCOPE_RING", given)
    assert stats()["ring_slots"] == slots


@pytest.mark.parametrize("given", ["abc", "0", "-1", "1e6"])
def test_a_size_that_is_none_is_said_once(given: str) -> None:
    program = "import gilscope\nfor _ in range(2): print(gilscope.stats()['ring_slots'])"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "GILSCOPE_RING": given},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "65536\n65536\n"
    said = f'gilscope: GILSCOPE_RING must be a number of slots, not "{given}"; it is 65536\n'
    assert done.stderr == said


@pytest.mark.parametrize("trace", ["t.json", "t.jsonl"])
def test_the_end_of_a_chrome_trace(cli: Cli, monkeypatch: pytest.MonkeyPatch, trace: str) -> None:
    monkeypatch.setenv("GILSCOPE_RING", str(1 << 19))  # nothing is lost on the way
    cli.write("overflow.py", OVERFLOW)
    done = cli("run", "overflow.py:many", "--input", "functions.py:listed", "--trace", trace)
    assert done.code == 0, done.err
    whole = trace == "t.jsonl"
    said = "none" if whole else r"[\d,]+ spans by sink"
    assert re.search(rf"^dropped: {said} \(", done.err, re.MULTILINE)
    remedy = "\n  sink: a Chrome trace ends at 400,000 events, calls and findings after that are "
    remedy += "not in it; --trace NAME.jsonl takes all\n"
    assert (remedy in done.err) is not whole
    assert (f"\ntrace: {trace} (incomplete; " in done.err) is not whole


FILE_LIMIT = """
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

async def echo(x):
    return x
"""


def test_a_trace_that_could_not_be_written(cli: Cli) -> None:
    cli.write("limited.py", FILE_LIMIT)
    args = ("--input", "functions.py:ten", "--trace", "t.json")
    err = cli("run", "limited.py:echo", *args).err
    assert "error: cannot write --trace t.json: File too large\n" in err
    assert "\ntrace: t.json (incomplete; " in err
    assert "sink:" not in err


@pytest.mark.parametrize("trace", ["t.json", "t.jsonl"])
def test_nothing_is_recorded(cli: Cli, monkeypatch: pytest.MonkeyPatch, trace: str) -> None:
    monkeypatch.setenv("GILSCOPE_DETAIL", "off")
    done = cli.run("double", "ten", "--trace", trace)
    assert done.code == 0
    assert "\n\nnothing was recorded: GILSCOPE_DETAIL=off\n" in done.err
    assert f"\ntrace: {trace} (empty)\n" in done.err
    assert not re.search("part of a call|dropped|perfetto", done.err)
    command = f"gilscope run functions.py:double --input functions.py:ten --trace {trace}"
    assert done.err.endswith(f"\nnext: GILSCOPE_DETAIL=full {command}\n")
    if trace == "t.json":
        events = json.loads((cli.folder / trace).read_text())["traceEvents"]
        assert {event["ph"] for event in events} == {"M"}


def test_no_parts_are_recorded(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GILSCOPE_DETAIL", "call")
    err = cli.run("double", "ten", "--trace", "t.jsonl").err
    assert (
        "\nGILSCOPE_DETAIL=call: the parts are in a trace alone, gilscope view shows them\n" in err
    )
    assert "  suspended " not in err
    assert re.search(r"^  suspended +\d", cli("view", "t.jsonl").out, re.MULTILINE)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (7_000_000, None),
        (7_000_010, None),  # rounded
        (14_000_000, "not in the parts: 50.0 %, of calls that were given up"),
    ],
)
def test_parts_that_do_not_add_up(call: int, said: str | None) -> None:
    parts = {part: {"sum_ns": 1_000_000} for part in PARTS} | {"call": {"sum_ns": call}}
    recorded: dict[str, Any] = stats() | {"parts": parts, "detail": "full"}
    recorded["dropped"] = dict.fromkeys(recorded["dropped"], 0)
    assert left_out(recorded) == said


@pytest.mark.parametrize(
    ("count", "said"),
    [
        (0, "dropped: none (1 ring slot read)"),
        (1, "dropped: 1 record by ring, 1 span by sink (1 ring slot read)"),
        (2, "dropped: 2 records by ring, 2 spans by sink (1 ring slot read)"),
    ],
)
def test_one_is_said_as_one(count: int, said: str) -> None:
    recorded: dict[str, Any] = stats() | {"records": 1}
    recorded["dropped"] = dict.fromkeys(recorded["dropped"], 0) | {"ring": count, "sink": count}
    assert dropped_line(recorded) == said
