"""The page in a browser: findings, calls that had not ended, and what loop threads waited for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from gilscope.view.reading import read

from .test_busy import FIRST
from .test_html import EVIL
from .test_page import LIGHT, has_drawn, show
from .test_unended import OPEN, parts_alone
from .traces import LIFE, Lines

if TYPE_CHECKING:
    from pathlib import Path

    from .browser import Browser

GIL_WAIT, START = LIGHT[2], "#a8763e"


def test_a_wait_for_the_gil_that_no_call_has_is_drawn(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun", 0, (("poll", 50), ("suspended", 850), ("poll", 60)))
    lines.turn(0, 50, gil_wait_ns=0)
    path = tmp_path / "t.jsonl"
    show(browser, read(lines.write(path)), tmp_path / "t.html")
    assert "1 turn and 0 GIL waits of 1 loop thread" in browser.text("#drawn")
    assert not has_drawn(browser, GIL_WAIT)
    lines.turn(900, 60, gil_wait_ns=400_000)
    show(browser, read(lines.write(path)), tmp_path / "t.html")
    assert "2 turns and 1 GIL wait of 1 loop thread" in browser.text("#drawn")
    assert has_drawn(browser, GIL_WAIT)
    browser.press("ArrowDown")
    said = browser.text("#panel")
    assert "turn, the loop waited 400 µs of it for the GIL" in " ".join(said.split())


def test_many_short_waits_for_the_gil_are_no_long_one(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun", 0, (("poll", 50), ("suspended", 1_000_000), ("poll", 60)))
    for number in range(1_000):
        lines.turn(1_000 * number, 9, gil_wait_ns=5_000)
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    assert re.search(r" and [2-9]\d\d GIL waits of 1 loop thread", browser.text("#drawn"))
    assert not has_drawn(browser, GIL_WAIT)


def test_the_start_of_a_thread_is_no_wait_for_the_gil(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.first", 0, (("queued", 40), ("gil.wait", 900), ("ready", 200), ("poll", 20)))
    lines.turn(940, 300, id=FIRST, gil_wait_ns=0)
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    assert "1 turn and 0 GIL waits of 1 loop thread" in browser.text("#drawn")
    assert has_drawn(browser, START)
    assert not has_drawn(browser, GIL_WAIT)
    assert "loop starts" in browser.text("#legend")
    browser.press("ArrowDown")
    assert browser.text("#panel").count("the loop thread started") == 2


def test_calls_that_had_not_ended_are_named_and_lead_to_their_rows(
    browser: Browser, tmp_path: Path
) -> None:
    lines = Lines()
    lines.work("app.fun")
    stuck = {"status": "cancelled_by_shutdown", "flags": ["unfinished"]}
    lines.work("app.stuck", 100, OPEN, **stuck)
    call = lines.work(EVIL, 2_000, LIFE[4:-1])
    lines.work("helper", 2_100, (("ready", 1), ("poll", 2)), kind="task", call=call)
    parts_alone(lines, call)
    lines.turn(3_000, 9, calls=0)
    lines.turn(5_000, 9, calls=3)
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    said = browser.text("#headline")
    assert said.startswith("2 calls, 1 not ok (1 cancelled_by_shutdown); not ended: 2 calls, and ")
    assert browser.text("#drawn").startswith("In view: 3 calls, 1 task, ")
    said = browser.text("#panel")
    for text in (
        "app.stuck 5.99 ms, began at 100 µs; not polled for the last 5.00 ms",
        " seen for 980 µs, from 2.00 ms on; awaited before its last known poll at /src/app.py:7",
        "seen: the file has parts of the call alone, neither its begin nor its end",
        "of which it has nothing: turns polled more calls and tasks than the file has",
    ):
        assert text in said, text
    assert browser.run("document.querySelectorAll('#panel img').length") == 0
    browser.screenshot(tmp_path / "unended.png")
    buttons = "[...document.querySelectorAll('#panel button.call')]"
    browser.run(f"{buttons}.find((one) => one.textContent === 'app.stuck').click()")
    said = browser.text("#panel")
    assert "the file has nothing of it" in said
    assert re.search(r"unknown\s+5\.00 ms\s+83\.5 %", said)
    browser.press("Escape")
    browser.run(f"{buttons}.find((one) => one.textContent.includes('<img')).click()")
    assert "not ended 980 µs, began at 2.00 ms, 2 polls" in browser.text("#panel")
    assert "helper 3.00 µs" in browser.text("#panel")
    assert browser.said == []


def test_a_finding_and_its_like_are_one_card(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    lines.work()
    for took in (20, 900, 30):
        lines.finding(took, took)
    lines.finding(100, 50, sentence="something else")
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    cards = browser.run("[...document.querySelectorAll('.finding')].map((one) => one.innerText)")
    assert len(cards) == 2
    assert "held the GIL for 900 µs (the worst of 3)" in cards[0]
    assert "4 findings in the file" in browser.text("#headline")


def test_the_longest_poll_leads_to_its_call(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.fun")
    lines.work("app.long", 50, (("ready", 4), ("poll", 3_000)))
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    assert "app.long 3.00 ms, at 54.0 µs" in browser.text("#panel")
    browser.run("document.querySelector('#panel button.call').click()")
    assert browser.text("#panel h2") == "app.long"
