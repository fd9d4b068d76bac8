"""What a long poll had of its processor, in text and for Perfetto; test_page.py has the page."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.view.perfetto import convert
from gilscope.view.reading import read

from .conftest import gilscope
from .traces import US, Lines

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = """
import time

async def nap(_):
    time.sleep(0.03)

def inputs():
    return [None]
"""


@pytest.fixture
def lines() -> Lines:
    lines = Lines()
    lines.work("app.fun")
    first = next(record for record in lines.records if record["span"] == "poll")
    first["cpu_ns"] = 40 * US
    return lines


def test_the_tree_says_it_of_that_poll_alone(lines: Lines, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    lines.write(path)
    out = gilscope("view", path.name, cwd=tmp_path).stdout
    said = [line for line in out.splitlines() if "of processor time" in line]
    assert len(said) == 1
    assert "poll 1" in said[0]
    assert said[0].endswith("40.0 µs of processor time")


def test_it_is_in_the_events_for_perfetto(lines: Lines, tmp_path: Path) -> None:
    found: list[dict[str, Any]]
    found = json.loads(convert(read(lines.write(tmp_path / "t.jsonl"))).text)["traceEvents"]
    polls = [event for event in found if event["name"] == "poll" and event["ph"] in "Xb"]
    assert [event["args"].get("cpu_us") for event in polls if event["ph"] == "X"] == [40, None]
    assert [event["args"].get("cpu_us") for event in polls if event["ph"] == "b"] == [40, None]


@pytest.mark.parametrize("name", ["t.jsonl", "t.json"])
def test_both_kinds_of_files_have_it(name: str, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(SCRIPT)
    given = ["app.py:nap", "--input", "app.py:inputs", "--out", "rows", "--trace", name]
    done = gilscope("run", *given, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    (call,) = read(str(tmp_path / name)).calls
    (poll,) = [piece for piece in call.pieces if piece.kind == "poll"]
    assert 0 < poll.cpu < poll.end - poll.start
