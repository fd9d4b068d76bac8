"""Who woke whom: arrows from the poll that woke to the poll that followed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.view.html import page
from gilscope.view.numbers import wakes
from gilscope.view.perfetto import convert
from gilscope.view.reading import read

from .browser import Browser
from .test_html import payload
from .test_page import READY, has_drawn

if TYPE_CHECKING:
    from pathlib import Path

    from gilscope.view.model import Trace

WOKEN = "#7048e8"
PROGRAM = """
import asyncio
import sys

import gilscope


async def waits(event):
    await event.wait()


async def sets(event):
    await asyncio.sleep(0)
    event.set()
    await asyncio.sleep(0)


async def both():
    event = asyncio.Event()
    await asyncio.gather(waits(event), sets(event))


async def alone():
    await asyncio.sleep(0.001)


with gilscope.PyRuntime() as rt, gilscope.trace(sys.argv[1]):
    rt.call(both)
    rt.call(alone)
"""


@pytest.fixture(params=["t.jsonl", "t.json"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A gather of two, of which one sets the event that the other waits for."""
    made = tmp_path / str(request.param)
    run = [sys.executable, "-c", PROGRAM, str(made)]
    subprocess.run(run, env=os.environ, check=True, timeout=60)
    return made


def events(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["traceEvents"]
    return found


def one(trace: Trace) -> Any:
    """The wake of the one that waits."""
    works = [*trace.calls, *trace.tasks]
    [found] = [wake for wake in wakes(works, trace.rust) if wake.woken.name.endswith("waits")]
    return found


def test_the_poll_that_set_the_event_is_found(path: Path) -> None:
    wake = one(read(str(path)))
    assert wake.waker.name.endswith("sets")
    polls = [piece for piece in wake.waker.pieces if piece.kind == "poll"]
    cause = polls[1]  # after its first await
    assert cause.start <= wake.at < cause.end <= wake.poll.start
    assert wake.poll.number == 2


def test_the_page_draws_the_arrow(path: Path, tmp_path: Path) -> None:
    trace = read(str(path))
    text = page(trace)
    # The one that waits, and who gathers, by the last of the two to end.
    assert len(payload(text)["wakes"]) == 2 * 4
    (tmp_path / "t.html").write_text(text)
    with Browser(tmp_path / "profile") as browser:
        browser.open((tmp_path / "t.html").as_uri())
        browser.wait(READY)
        assert browser.text("#drawn").endswith(" 2 arrows from a poll that woke.")
        assert has_drawn(browser, WOKEN)
        browser.press("ArrowDown")
        said = browser.text("#panel")
        assert "sets woke " in said
        assert "waits, which was polled that much later" in said
        browser.screenshot(tmp_path / "t.png")
        assert browser.said == []


def test_perfetto_gets_the_arrow(path: Path) -> None:
    trace = read(str(path))
    zero, _ = trace.bounds()
    wake = one(trace)
    found = events(convert(trace).text)
    starts = {e["id"]: e for e in found if e["ph"] == "s" and e["name"] == "woken by"}
    ends = {e["id"]: e for e in found if e["ph"] == "f" and e["name"] == "woken by"}
    assert starts.keys() == ends.keys()
    assert len(starts) == len(wakes([*trace.calls, *trace.tasks], trace.rust))
    poll = (wake.poll.start - zero) / 1000
    [number] = [number for number, end in ends.items() if end["ts"] == poll]
    start = starts[number]
    around = [e for e in found if e["ph"] == "X" and e["name"] == "poll" and holds(e, start)]
    assert [e["args"]["function"] for e in around] == [wake.waker.name]


def holds(piece: dict[str, Any], event: dict[str, Any]) -> bool:
    inside: bool = piece["ts"] <= event["ts"] < piece["ts"] + piece["dur"]
    return inside and piece["tid"] == event["tid"]


def test_in_a_chrome_file_the_wake_begins_in_the_poll_that_woke(path: Path) -> None:
    if path.suffix != ".json":
        path = path.with_suffix(".json")
        subprocess.run([sys.executable, "-c", PROGRAM, str(path)], check=True, timeout=60)
    found = events(path.read_text())
    polls = [e for e in found if e["ph"] == "b" and e["name"] == "poll"]
    [woken] = [e for e in polls if e["args"].get("woken_by") and e["args"]["poll"] == 2][:1]
    [cause] = [e for e in polls if e["args"]["id"] == woken["args"]["woken_by"]]
    [end] = [e for e in found if e["ph"] == "f" and e["ts"] == woken["ts"]]
    [start] = [e for e in found if e["ph"] == "s" and e["id"] == end["id"]]
    around = [e for e in found if e["ph"] == "X" and e["name"] == "poll" and holds(e, start)]
    assert [e["ts"] for e in around] == [cause["ts"]]
