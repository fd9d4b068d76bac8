"""The page in a browser: what is drawn, what a key and a click show, and what it may not do."""

from __future__ import annotations

import json
import re
import socket
from typing import TYPE_CHECKING

import pytest

from gilscope.view.html import page
from gilscope.view.model import Finding
from gilscope.view.reading import read

from .browser import Browser
from .test_html import EVIL
from .traces import LIFE, Lines, many

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from gilscope.view.model import Trace

READY = "document.querySelector('#drawn').innerText"


def show(browser: Browser, trace: Trace, path: Path) -> None:
    path.write_text(page(trace))
    browser.open(path.as_uri())
    browser.wait(READY)


def has_drawn(browser: Browser, *colours: str) -> bool:
    """Whether each of these colours of the page's own is somewhere in the picture."""
    script = """
        (() => {
          const canvas = document.querySelector("#canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let i = 0; i < data.length; i += 4) {
            seen.add((data[i] << 16) | (data[i + 1] << 8) | data[i + 2]);
          }
          return %s.every((name) => seen.has(parseInt(name.slice(1), 16)));
        })()
    """
    return bool(browser.run(script % json.dumps(colours)))


# Of theme.js: enqueue, queued, gil.wait, ready, poll, suspended, callback, wake.
LIGHT = ["#9775fa", "#f59f00", "#e03131", "#ffd43b", "#2f6fde", "#c3ccd8", "#12b886", "#d6336c"]
DARK = ["#b197fc", "#ffc078", "#ff6b6b", "#ffe066", "#5c9dff", "#445062", "#38d9a9", "#f783ac"]
SUSPENDED = LIGHT[5]


def test_it_opens_with_the_calls_and_shows_the_whole_run_when_asked(
    browser: Browser, tmp_path: Path
) -> None:
    lines = Lines()
    lines.turn(0, 100)
    for number in range(3):
        lines.work("app.fun", 4_000_000 + 1000 * number)
    lines.turn(9_999_000, 1_000)
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    part = "document.querySelector('#shown').innerText"
    assert browser.run(part) == "Shown: 4.00 s to 4.00 s of 10.0 s; “whole run” shows all."
    assert ", 0 turns and" in browser.run(READY)
    browser.run("document.querySelector('#whole').click()")
    browser.wait(f"{READY}.includes(', 2 turns and')")
    assert browser.run(part) == ""
    browser.press("c")
    assert browser.wait(f"{part}.startsWith('Shown: 4.00 s')")


def test_five_calls_of_a_real_run_are_all_drawn(
    browser: Browser, real: Callable[..., Path], tmp_path: Path
) -> None:
    trace = read(str(real("t.jsonl")))
    show(browser, trace, tmp_path / "five.html")
    assert browser.text("#headline").startswith("5 calls, 1 not ok (1 error); 10 tasks in ")
    assert re.match(
        r"In view: 5 calls, 10 tasks, \d+ pieces, \d+ wake arrows, \d+ turns and \d+ GIL waits? of "
        r"1 loop thread, \d+ steps of counters\.",
        browser.text("#drawn"),
    )
    assert has_drawn(browser, SUSPENDED)
    assert len(browser.screenshot(tmp_path / "five.png")) > 20_000
    assert "gil.wait" in browser.text("#panel")
    assert browser.said == []
    assert [address.partition(":")[0] for address in browser.requests] == ["file"]


def test_calls_that_came_while_the_thread_waited_have_one_wait(
    browser: Browser, tmp_path: Path
) -> None:
    lines = Lines()
    for late in range(3):
        life = (("queued", 1), ("gil.wait", 10 - late), ("ready", 3 * late), ("poll", 3))
        lines.work("app.fun", late, life)
    lines.work("app.fun", 50, (("queued", 1), ("gil.wait", 4), ("poll", 3)))
    lines.turn(11, 20)
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    assert "1 turn and 2 GIL waits of 1 loop thread" in browser.text("#drawn")


def test_each_part_has_its_colour(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    lines.work(life=tuple((part, 100) for part, _ in LIFE))
    lines.turn(300, 200)
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    assert has_drawn(browser, *LIGHT)
    assert not has_drawn(browser, *DARK)
    browser.run("document.querySelector('#theme').click()")
    browser.run("new Promise(requestAnimationFrame)")
    assert has_drawn(browser, *DARK)


def test_a_key_shows_the_whole_life_of_a_call(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.first")
    # Its first poll was long enough for its CPU time to be asked for.
    next(line for line in lines.records if line["span"] == "poll")["cpu_ns"] = 40_000
    raised = {"type": "ValueError", "message": "no 3"}
    second = lines.work("app.second", 50, status="error", error=raised, flags=["detached"])
    lines.work("helper", 170, (("ready", 1), ("poll", 2)), kind="task", call=second)
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    browser.press("ArrowDown")
    said = browser.text("#panel")
    assert "app.first" in said
    assert said.count("of processor time") == said.count("40.0 µs of processor time") == 1
    # What follows it in the packed life is read right.
    assert "at src/app.py:7 in fun, woken 5.00 µs before its turn" in said
    browser.press("ArrowDown")
    said = browser.text("#panel")
    for text in (
        "app.second",
        "error 1.00 ms, began at 50.0 µs, 2 polls",
        "detached",
        "ValueError: no 3",
        "at src/app.py:7 in fun, woken 5.00 µs before its turn",
        "helper 3.00 µs, ok, 1 poll",
        second,
        second * 2,
        "loop-1",
    ):
        assert text in said, text
    rows = [re.sub(r"\s+", " ", line) for line in said.splitlines()]
    assert {"gil.wait 3.00 µs 0.3 %", "poll 180 µs 18.0 %", "call 1.00 ms 100.0 %"} <= set(rows)
    assert browser.run("location.hash") == f"#{second}"
    browser.press("Enter")
    browser.press("Escape")
    assert "All calls" in browser.text("#panel")


def test_keys_move_through_time(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    lines.work("app.early")
    lines.work("app.late", 50_000)
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    assert browser.text("#drawn").startswith("In view: 2 calls, ")
    browser.press("ArrowDown")
    browser.press("Enter")
    browser.wait(f"{READY}.startsWith('In view: 1 call, 0 tasks, 8 pieces, 1 wake arrow')")
    browser.press("0")
    browser.wait(f"{READY}.startsWith('In view: 2 calls, ')")


def test_a_click_on_a_row_chooses_its_call(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    for name in ("app.one", "app.two", "app.three"):
        lines.work(name)
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    box = browser.run(
        "(({x, y}) => [x, y])(document.querySelector('#canvas').getBoundingClientRect())"
    )
    above = 28 + 2 * 40 + 46 + 6  # axis, counters and one thread, as draw.js has them
    browser.click(box[0] + 500, box[1] + above + 30 + 15)
    assert browser.text("#panel h2") == "app.two"


def test_a_finding_leads_to_its_call(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    call = lines.work("app.held")
    lines.finding(100, 50, call=call, stack=["app.py:3 in hold"])
    show(browser, read(lines.write(tmp_path / "t.jsonl")), tmp_path / "t.html")
    assert "1 finding" in browser.text("#headline")
    said = browser.text("#findings")
    for text in ("GS02", "worker held the GIL for 50 µs", "release it", "app.py:3 in hold"):
        assert text in said
    browser.run("document.querySelector('.finding').click()")
    assert browser.text("#panel h2") == "app.held"
    assert "GS02 worker held" in browser.text("#panel")


def test_a_filter_leaves_the_calls_that_match(browser: Browser, tmp_path: Path) -> None:
    show(browser, many(21), tmp_path / "t.html")
    browser.run(
        "(() => { const box = document.querySelector('#filter'); box.value = 'ERROR';"
        " box.dispatchEvent(new Event('input')); })()"
    )
    browser.wait(f"{READY}.startsWith('In view: 3 calls, 6 tasks, ')")


def test_a_thousand_calls_are_packed_and_each_can_be_reached(
    browser: Browser, tmp_path: Path
) -> None:
    trace = many(1000)
    show(browser, trace, tmp_path / "many.html")
    assert browser.run("document.querySelector('#order').value") == "packed"
    assert browser.text("#notes") == ""
    [seen] = re.findall(r"In view: (\d+) calls", browser.text("#drawn"))
    assert int(seen) > 200  # with a row for each it would be 30
    browser.press("End")
    last = trace.calls[-1].id
    assert last in browser.text("#panel")
    browser.press("Enter")
    browser.wait(f"{READY}.includes('2 tasks')")
    browser.screenshot(tmp_path / "many.png")
    assert browser.said == []


def test_fifty_thousand_calls_are_capped_and_it_is_seen(browser: Browser, tmp_path: Path) -> None:
    show(browser, many(50_000), tmp_path / "capped.html")
    assert "1,000 of 50,000 calls are drawn" in browser.text("#notes")
    said = "50,000 calls, 7,143 not ok (7,143 error); 100,000 tasks in "
    assert browser.text("#headline").startswith(said)
    assert re.search(r"In view: [\d,]{3,} calls", browser.text("#drawn"))
    assert has_drawn(browser, SUSPENDED)
    assert len(browser.screenshot(tmp_path / "capped.png")) > 20_000
    assert browser.said == []


def test_light_and_dark_follow_the_system_and_the_button(browser: Browser, tmp_path: Path) -> None:
    ground = "getComputedStyle(document.body).backgroundColor"
    browser.dark(True)
    show(browser, many(3), tmp_path / "t.html")
    assert browser.run(ground) == "rgb(16, 20, 26)"
    browser.dark(False)
    browser.wait(f"{ground} === 'rgb(246, 247, 249)'")
    browser.run("document.querySelector('#theme').click()")
    assert browser.run(ground) == "rgb(16, 20, 26)"


def test_names_from_user_code_are_text(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    error = {"type": EVIL, "message": EVIL}
    call = lines.work(EVIL, place=EVIL, error=error, thread=EVIL, status=EVIL, flags=[EVIL])
    lines.work(EVIL, 20, (("ready", 1), ("poll", 2)), kind="task", call=call)
    lines.finding(0, 1, call=call, sentence=EVIL, hint=EVIL, stack=[EVIL], finding=EVIL)
    trace = read(lines.write(tmp_path / "t.jsonl"))
    trace.path = EVIL
    trace.notes.append(EVIL)
    show(browser, trace, tmp_path / "t.html")
    browser.run("document.querySelector('.finding').click()")
    browser.press("ArrowDown")
    elements = "document.querySelectorAll('img, iframe, object, [onerror]').length"
    assert browser.run(elements) == 0
    assert browser.run("document.scripts.length") == 3
    for place in ("#panel h2", "#notes", "#findings", "#panel .error"):
        assert "<img src=x onerror=alert(1)>&amp;" in browser.text(place), place
    assert browser.said == []


def test_it_may_not_use_the_network_nor_run_what_is_put_in(
    browser: Browser, tmp_path: Path
) -> None:
    show(browser, many(3), tmp_path / "t.html")
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = f"http://127.0.0.1:{server.getsockname()[1]}/"
        image = f"<img src={there} onerror='ran = 2'>"
        asked = f"fetch('{there}').then(() => 'answered', (error) => error.name)"
        assert browser.run(asked) == "TypeError"
        browser.run(
            "(() => { const script = document.createElement('script');"
            " script.textContent = 'globalThis.ran = 1'; document.body.append(script);"
            f" document.body.insertAdjacentHTML('beforeend', `{image}`); }})()"
        )
        browser.wait("document.images[0].complete")
        server.setblocking(False)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert browser.run("globalThis.ran") is None
    refused = [text for text in browser.said if "Content Security Policy" in text]
    assert len(refused) >= 3


def test_a_trace_with_nothing_drawn_still_opens(browser: Browser, tmp_path: Path) -> None:
    lines = Lines()
    lines.turn(0, 10)
    trace = read(lines.write(tmp_path / "t.jsonl"))
    trace.findings.append(Finding("GS07", "odd", "odd"))
    show(browser, trace, tmp_path / "t.html")
    assert browser.text("#drawn").startswith("In view: 0 calls, ")
    assert browser.said == []
