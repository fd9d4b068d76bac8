"""Polls of Rust futures beside those of Python: read, on the page, and in Perfetto's dialect."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.view.html import page
from gilscope.view.model import RustPoll
from gilscope.view.numbers import wakes
from gilscope.view.perfetto import convert
from gilscope.view.reading import read

from .browser import Browser
from .conftest import gilscope
from .test_html import payload
from .test_page import READY, has_drawn
from .test_woken_by import holds
from .traces import Lines

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gilscope.view.model import Trace

RUST = "#b7410e"
VIOLET = "#7048e8"


@pytest.fixture
def trace(tmp_path: Path) -> Trace:
    """One call whose future is polled once on the loop's thread, and twice on two others."""
    lines = Lines()
    call = lines.work("shop.order")
    lines.turn(3, 110)
    lines.rust_poll(call, 1, 20, 30, thread="loop-1")
    for number in range(2, 6):
        lines.rust_poll(call, number, 100 * number, 40, thread=f"gilscope-tokio{number % 2 + 1}")
    return read(lines.write(tmp_path / "t.jsonl"))


def test_a_thread_that_polls_has_a_lane(trace: Trace) -> None:
    assert trace.rust_lanes() == [(0, "gilscope-tokio1"), (0, "gilscope-tokio2")]
    assert trace.lanes() == [(1, "loop-1")]
    packed = payload(page(trace))["rust"]
    found = {lane["name"]: (lane["loop"], len(lane["polls"]) // 5) for lane in packed}
    assert found == {"gilscope-tokio1": (-1, 2), "gilscope-tokio2": (-1, 2), "loop-1": (0, 1)}


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_those_of_a_real_run_are_read_from_both_formats(
    real: Callable[..., Path], name: str
) -> None:
    trace = read(str(real(name)))
    calls = {call.id: call for call in trace.calls}
    # A thread that is kept waiting for long enough finds the sleep over at its first poll.
    owners = {poll.owner for poll in trace.rust}
    assert owners
    assert owners <= set(calls)
    for call in (calls[owner] for owner in owners):
        polls = [poll for poll in trace.rust if poll.owner == call.id]
        assert [poll.number for poll in polls] == list(range(1, len(polls) + 1))
        assert len(polls) >= 2  # on the loop's thread, where it is not ready, and on tokio's
        assert polls[0].lane == call.lane
        assert {poll.name for poll in polls} == {"gilscope.rust.sleep"}
        for poll in polls:
            assert call.start <= poll.start <= poll.end <= call.end
            assert poll is polls[0] or poll.lane in trace.rust_lanes()
    assert not any(piece.kind == "rust.poll" for call in trace.calls for piece in call.pieces)


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_the_tree_of_a_real_run_names_what_is_awaited(real: Callable[..., Path], name: str) -> None:
    path = real(name)
    out = gilscope("view", name, "--slowest", "5", cwd=path.parent).stdout
    rows = [line for line in out.splitlines() if " wait suspended " in line]
    awaited = [line for line in rows if ", awaits gilscope.rust.sleep, woken " in line]
    assert len(awaited) == len({poll.owner for poll in read(str(path)).rust}) > 0
    assert all(re.search(r" at shop\.py:\d+ in fetch, awaits ", line) for line in awaited)
    others = [line for line in rows if line not in awaited]
    assert any(" in child, woken " in line for line in others)
    assert not any("awaits" in line for line in others)


def test_what_is_awaited_is_what_was_polled_since_the_poll_before(tmp_path: Path) -> None:
    lines = Lines()
    life = (*(("poll", 10), ("suspended", 90)) * 4, ("poll", 10))
    call, other = lines.work(life=life), lines.work(life=life)
    lines.rust_poll(call, 1, 2, 1, name="shop.first")
    lines.rust_poll(call, 2, 50, 1, name="shop.first")
    lines.rust_poll(call, 1, 205, 1, name="shop.second")  # no thread had got to it before its end
    lines.rust_poll(call, 1, 302, 1, name="shop.third")  # given up, and another one awaited
    lines.rust_poll(call, 1, 305, 1, name="shop.fourth")
    trace = read(lines.write(tmp_path / "t.jsonl"))
    found = {call.id: [p.awaits for p in call.pieces if p.kind != "poll"] for call in trace.calls}
    assert found[call] == ["shop.first", None, "shop.second", "shop.fourth"]
    assert found[other] == [None] * 4


def test_the_page_shows_them(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "t.html"
    path.write_text(page(trace))
    with Browser(tmp_path / "profile") as browser:
        browser.open(path.as_uri())
        browser.wait(READY)
        assert browser.text("#drawn").endswith(" 5 polls of Rust futures.")
        assert "rust.poll" in browser.text("#legend")
        assert has_drawn(browser, RUST)
        browser.press("ArrowDown")
        said = re.sub(r"\s+", " ", browser.text("#panel"))
        assert "poll 1 30.0 µs shop.price on loop-1" in said
        assert "poll 3 40.0 µs shop.price on gilscope-tokio2" in said
        browser.screenshot(tmp_path / "t.png")
        assert browser.said == []


def test_perfetto_gets_a_track_for_each_thread(trace: Trace) -> None:
    events: list[dict[str, Any]] = json.loads(convert(trace).text)["traceEvents"]
    names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
    polls = [event for event in events if event["name"] == "rust.poll"]
    found = [(names[p["tid"]], p["ts"], p["dur"], p["args"]["poll"]) for p in polls]
    assert found == [
        ("loop-1", 20, 30, 1),
        ("gilscope-tokio1", 200, 40, 2),
        ("gilscope-tokio2", 300, 40, 3),
        ("gilscope-tokio1", 400, 40, 4),
        ("gilscope-tokio2", 500, 40, 5),
    ]
    assert {poll["args"]["call"] for poll in polls} == {trace.calls[0].id}


@pytest.fixture
def woken(tmp_path: Path) -> Trace:
    """A call that a poll of the Rust future it awaits has woken, on another thread."""
    lines = Lines()
    call = lines.work("shop.order")
    lines.turn(3, 110)
    lines.rust_poll(call, 1, 20, 30, thread="loop-1")
    lines.rust_poll(call, 2, 850, 50)
    cause = lines.records[-1]["id"]
    [poll] = [it for it in lines.records if it["span"] == "poll" and it["poll"] == 2]
    poll["woken_by"] = cause
    return read(lines.write(tmp_path / "t.jsonl"))


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_the_poll_that_was_ready_woke_who_awaited_it(real: Callable[..., Path], name: str) -> None:
    trace = read(str(real(name)))
    found = [
        (wake.waker, wake.woken, wake.at, wake.poll)
        for wake in wakes([*trace.calls, *trace.tasks], trace.rust)
        if isinstance(wake.waker, RustPoll)
    ]
    last = {poll.owner: poll for poll in trace.rust}
    assert {poll.id for poll, _, _, _ in found} == {poll.id for poll in last.values()}
    for poll, work, at, step in found:
        assert poll.owner == work.id
        assert poll.lane in trace.rust_lanes()
        assert poll.start <= at <= poll.end <= step.start
        assert step.number == 2  # after the one that awaited it


def test_the_page_draws_an_arrow_from_the_poll_of_a_rust_future(
    woken: Trace, tmp_path: Path
) -> None:
    path = tmp_path / "t.html"
    path.write_text(page(woken))
    with Browser(tmp_path / "profile") as browser:
        browser.open(path.as_uri())
        browser.wait(READY)
        assert browser.text("#drawn").endswith(" 1 arrow from a poll that woke.")
        assert "woken by" in browser.text("#legend")
        assert has_drawn(browser, VIOLET)
        browser.press("ArrowDown")
        said = re.sub(r"\s+", " ", browser.text("#panel"))
        who = "shop.order was woken by shop.price, poll 2 on gilscope-tokio1,"
        assert f"woken by 10.0 µs {who} and polled that much later" in said
        browser.screenshot(tmp_path / "t.png")
        assert browser.said == []


@pytest.mark.parametrize("name", ["made", "t.jsonl", "t.json"])
def test_perfetto_gets_an_arrow_from_the_poll_of_a_rust_future(
    woken: Trace, real: Callable[..., Path], name: str
) -> None:
    trace = woken if name == "made" else read(str(real(name)))
    events: list[dict[str, Any]] = json.loads(convert(trace).text)["traceEvents"]
    arrows = [event for event in events if event["name"] == "woken by"]
    starts = {event["id"]: event for event in arrows if event["ph"] == "s"}
    ends = {event["id"]: event for event in arrows if event["ph"] == "f"}
    polls = [event for event in events if event["ph"] == "X" and event["name"] == "poll"]
    steps = {(event["tid"], event["ts"]): event["args"]["call"] for event in polls}
    found = set()
    for poll in (event for event in events if event["name"] == "rust.poll"):
        own = [number for number, start in starts.items() if holds(poll, start)]
        for end in (ends[number] for number in own):
            assert steps[end["tid"], end["ts"]] == poll["args"]["call"]
        found.update(own)
    assert len(found) == len({poll.owner for poll in trace.rust}) > 0
