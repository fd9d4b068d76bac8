"""The page as a file: what is in it, how large it is, what it may do."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import random
import re
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.view.choice import choose, fewer_pieces, fewer_steps, fewer_turns
from gilscope.view.html import page
from gilscope.view.model import Finding, Piece, RustPoll, Trace, Turn
from gilscope.view.numbers import in_flight, queue_depth
from gilscope.view.reading import read

from .conftest import gilscope
from .traces import LIFE, US, Lines, many

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EVIL = "</script><!--<script><img src=x onerror=alert(1)>&amp;\u2028]]>{{trace}}"


def payload(text: str) -> dict[str, Any]:
    [packed] = re.findall(r'id="trace">([A-Za-z0-9+/=]*)</script>', text)
    found: dict[str, Any] = json.loads(gzip.decompress(base64.b64decode(packed)))
    return found


def test_a_page_of_a_thousand_calls_is_small() -> None:
    text = page(many(1000))
    assert len(payload(text)["calls"]) == 1000
    assert len(text.encode()) <= 500_000


WIDE = """
import asyncio

async def child(x):
    await asyncio.sleep(0.001 * (x % 3))

async def order(x):
    await asyncio.gather(*(child(x + i) for i in range(12)))

def inputs():
    return range(1000)
"""


def test_a_page_of_a_thousand_real_calls_with_tasks_is_small(tmp_path: Path) -> None:
    (tmp_path / "wide.py").write_text(WIDE)
    given = ["wide.py:order", "--input", "wide.py:inputs", "--out", "rows", "--trace", "t.jsonl"]
    done = gilscope("run", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    trace = read(str(tmp_path / "t.jsonl"))
    assert (len(trace.calls), len(trace.tasks)) == (1000, 12_000)
    text = page(trace)
    assert len(text.encode()) <= 500_000
    made = payload(text)
    assert 200 <= len(made["calls"]) < 1000
    assert made["notes"][0].startswith(f"{len(made['calls'])} of 1,000 calls are drawn")
    assert made["notes"][1] == "More would make the page too large."
    slowest = max(trace.calls, key=lambda call: call.duration)
    assert slowest.id in {call[5] for call in made["calls"]}


def heavy(what: str) -> Trace:
    """A trace of a thousand calls that has much of one thing, of which nothing can be packed."""
    chance = random.Random(2)
    trace = many(1000)

    def noise(size: int) -> str:
        return f"{chance.getrandbits(4 * size):x}"

    for i, call in enumerate(trace.calls):
        if what == "errors":
            call.error = noise(4000)
        elif what == "pieces":
            call.pieces *= 200
        elif what == "findings":
            stack = [noise(500) for _ in range(64)]
            finding = Finding("GS02", "gil_held", noise(3000), noise(3000), call.id)
            finding.stack, finding.start = stack, call.start
            trace.findings.append(finding)
        elif what == "threads":
            call.lane = (i, noise(500))
            times = [call.start + 7 * chance.getrandbits(9) for _ in range(20)]
            trace.turns[call.lane] = [Turn(at, at + 3, 1, 1) for at in sorted(times)]
        elif what == "polls":
            times = [chance.getrandbits(30) for _ in range(8)]
            lane = (0, noise(200))
            name = noise(3000)
            trace.rust += [RustPoll(name, at, at + 3, 1, call.id, call.id, lane) for at in times]
    return trace


@pytest.mark.parametrize("what", ["errors", "pieces", "findings", "threads", "polls"])
def test_no_thousand_calls_make_a_large_page(what: str) -> None:
    trace = heavy(what)
    text = page(trace)
    assert len(text.encode()) <= 500_000
    made = payload(text)
    assert made["calls"]
    assert made["count"] == 1000
    if len(made["calls"]) < 1000:
        assert made["notes"][0].startswith(f"{len(made['calls'])} of 1,000 calls are drawn")
        assert made["notes"][1] == "More would make the page too large."


def test_of_fifty_thousand_calls_some_are_drawn_and_it_says_so() -> None:
    trace = many(50_000)
    slowest = max(trace.calls, key=lambda call: call.duration)
    about = trace.calls[777]
    trace.findings.append(Finding("GS02", "gil_held", "held", call=about.id))
    chosen = {call.id for call in choose(trace)}
    assert len(chosen) == 1000
    assert {slowest.id, about.id} <= chosen
    failed = sum(call.status != "ok" for call in trace.calls if call.id in chosen)
    assert failed >= 200
    text = page(trace)
    made = payload(text)
    assert made["notes"][0].startswith("1,000 of 50,000 calls are drawn")
    assert made["count"] == 50_000
    assert len(text.encode()) <= 500_000


def test_it_has_no_address_to_load_and_only_its_own_scripts_may_run() -> None:
    text = page(many(3))
    [policy] = re.findall(r'Content-Security-Policy" content="([^"]*)"', text)
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert "unsafe" not in policy
    scripts = re.findall(r"<script(?: type=\"module\")?>(.*?)</script>", text, re.DOTALL)
    styles = re.findall(r"<style>(.*?)</style>", text, re.DOTALL)
    assert len(scripts) == 2
    for inside in (*scripts, *styles):
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert not re.search(r"<(?:link|img|iframe|object)\b|\ssrc=|@import|url\(", text)
    assert "Permission to use, copy, modify" in scripts[0]  # what d3's licence asks for


def test_names_from_user_code_are_nowhere_in_the_markup(tmp_path: Path) -> None:
    lines = Lines()
    lines.work(EVIL, place=EVIL, error={"type": EVIL, "message": EVIL}, thread=EVIL)
    lines.finding(0, 1, sentence=EVIL, hint=EVIL, stack=[EVIL], name=EVIL, finding=EVIL)
    path = tmp_path / "<img onerror=1>.jsonl"
    text = page(read(lines.write(path)))
    assert "onerror=alert" not in text
    assert "<img" not in text
    assert "<title>&lt;img onerror=1&gt;.jsonl – gilscope</title>" in text
    assert EVIL in payload(text)["texts"]


@pytest.mark.parametrize("trace", [Trace("none.jsonl"), many(1)])
def test_it_may_have_nothing_in_it(trace: Trace) -> None:
    assert payload(page(trace))["count"] == len(trace.calls)


def test_counters_rise_and_fall(tmp_path: Path) -> None:
    lines = Lines()
    lines.work(at=0)
    lines.work(at=500)
    trace = read(lines.write(tmp_path / "t.jsonl"))
    start = trace.calls[0].start
    flight = [((at - start) // 1000, value) for at, value in in_flight(trace)]
    assert flight == [(0, 1), (500, 2), (1000, 1), (1500, 0)]
    depth = [((at - start) // 1000, value) for at, value in queue_depth(trace)]
    assert depth == [(1, 1), (6, 0), (501, 1), (506, 0)]


def test_what_is_too_much_keeps_its_peaks_and_its_sums() -> None:
    steps = [(i * 10, 1000 if i == 777 else i % 2) for i in range(5000)]
    fewer = fewer_steps(steps, 100)
    assert len(fewer) <= 100
    assert max(value for _, value in fewer) == 1000
    assert fewer[-1] == steps[-1]

    turns = [Turn(i * 10, i * 10 + 4, 1, 3) for i in range(5000)]
    merged = fewer_turns(turns, 300)
    assert len(merged) <= 300
    assert sum(count for _, count, _ in merged) == 5000
    assert sum(held for _, _, held in merged) == 5000 * 4

    pieces = [Piece("poll", i, i + 1) for i in range(5000)]
    pieces[40] = Piece("suspended", 40, 4000)
    few = fewer_pieces(pieces, 20)
    assert len(few) <= 21
    assert pieces[40] in few
    assert sum(p.number for p in few if p.kind == "merged") + sum(
        p.kind != "merged" for p in few
    ) == len(pieces)


def test_the_command_writes_beside_the_trace_or_where_it_is_told(
    real: Callable[..., Path],
) -> None:
    path = real("t.jsonl")
    done = gilscope("view", path.name, "--html", cwd=path.parent)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "page: t.html\nnext: xdg-open t.html\n"
    gilscope("view", path.name, "--html=other.html", cwd=path.parent)
    assert (path.parent / "t.html").read_text() == (path.parent / "other.html").read_text()


@pytest.mark.parametrize(
    ("out", "says"),
    [("t.jsonl", "would replace the trace"), ("no/t.html", "No such file"), (".", "directory")],
)
def test_where_it_cannot_be_written_is_one_line(
    out: str, says: str, real: Callable[..., Path]
) -> None:
    path = real("t.jsonl")
    for option in ("--html", "--perfetto"):
        done = gilscope("view", path.name, f"{option}={out}", cwd=path.parent)
        assert done.returncode == 2
        assert re.fullmatch(r"error: [^\n]+\n", done.stderr)
        assert says in done.stderr


@pytest.mark.parametrize("option", ["--html", "--perfetto"])
@pytest.mark.parametrize("other", ["b.jsonl", "b.json", "b.html", "b.txt"])
def test_no_file_is_replaced_but_one_of_its_kind(
    option: str, other: str, real: Callable[..., Path], tmp_path: Path
) -> None:
    raw = real("t.jsonl").read_bytes()
    (tmp_path / "a.jsonl").write_bytes(raw)
    (tmp_path / "b.jsonl").write_bytes(raw)
    (tmp_path / "b.json").write_bytes(real("t.json").read_bytes())
    (tmp_path / "b.html").write_text("<!doctype html>\n<title>somebody's gilscope</title>\n")
    (tmp_path / "b.txt").write_text("x")
    before = (tmp_path / other).read_bytes()
    for args in ([f"{option}={other}"], [option, other]):
        done = gilscope("view", "a.jsonl", *args, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, "")
        assert re.fullmatch(rf"error: {option} would replace {other}, [^\n]+\n", done.stderr)
        assert (tmp_path / other).read_bytes() == before
    (tmp_path / "empty").touch()
    for out in ("own", "own", "empty", "/dev/null"):
        assert gilscope("view", "a.jsonl", f"{option}={out}", cwd=tmp_path).returncode == 0


@pytest.mark.parametrize("option", ["--html", "--perfetto=out.json --html", "--html --slowest 2"])
def test_the_trace_may_stand_behind_an_option_without_a_value(
    option: str, real: Callable[..., Path]
) -> None:
    path = real("t.jsonl")
    done = gilscope("view", *option.split(), path.name, cwd=path.parent)
    if "--perfetto" in option:
        assert "do not go together" in done.stderr
    else:
        assert (done.returncode, done.stdout.splitlines()[0]) == (0, "page: t.html")


def test_a_page_and_its_trace_may_be_named_apart(real: Callable[..., Path]) -> None:
    path = real("t.jsonl")
    done = gilscope("view", "--html", "apart.html", path.name, cwd=path.parent)
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "page: apart.html")


def test_life_is_packed_without_loss(tmp_path: Path) -> None:
    lines = Lines()
    lines.work(at=3)
    made = payload(page(read(lines.write(tmp_path / "t.jsonl"))))
    [call] = made["calls"]
    flat = iter(call[11])
    life = []
    for code in flat:
        kind, took = made["kinds"][code], next(flat)
        if kind == "suspended":
            assert made["texts"][next(flat)] == "/src/app.py:7 in fun"
            assert next(flat) == 5 * US
        life.append((kind, took // US))
    assert life == list(LIFE)
