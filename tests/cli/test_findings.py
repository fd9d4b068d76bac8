"""What `gilscope run` found comes first, each with what to do about it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from gilscope.cli.findings import findings_lines

if TYPE_CHECKING:
    import pytest

    from .conftest import Cli

HOGS = """
import asyncio, time

released = asyncio.Event()

def crunch():
    time.sleep(0.2)

async def f(x):
    if x == 0:
        await asyncio.sleep(0.1)  # by then the others are waiting
        released.set()  # they are due from now on
        crunch()
    else:
        await released.wait()
"""


def test_findings_come_first_with_what_to_do(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GILSCOPE_SLOW_POLL", "50ms")
    cli.write("hogs.py", HOGS)
    done = cli("run", "hogs.py:f", "--input", "-", "--trace", "t.jsonl", stdin=b"0\n1\n2\n")
    assert done.code == 0, done
    finding, hint, empty, headline = done.err.splitlines()[:4]
    assert finding.startswith("finding: GS03 `hogs.f` held the loop for ")
    assert " of it on a processor, at `crunch` (hogs.py:" in finding
    assert hint.startswith("  hint: await in between, ")
    assert empty == ""
    assert headline.startswith("3 calls in ")
    lines = [json.loads(line) for line in (cli.folder / "t.jsonl").read_text().splitlines()]
    (written,) = [line for line in lines if "finding" in line]
    assert written["sentence"] in finding
    assert written["stack"][0].endswith(" in crunch")
    assert written["stack"][1].endswith(" in f")


def test_a_run_without_findings_says_nothing_of_them(cli: Cli) -> None:
    done = cli.run("double", "ten")
    assert done.err.startswith("10 calls in ")
    assert "finding" not in done.err


def test_at_most_five_are_shown_and_the_others_counted() -> None:
    def finding(number: int) -> dict[str, object]:
        return {"finding": "GS01", "sentence": f"`f{number}` waited", "hint": "h", "count": number}

    findings: dict[str, Any] = {
        "worst": [finding(n) for n in range(1, 10)],
        "dropped": 3,
        "counts": {},
    }
    lines = [line.plain for line in findings_lines(findings, traced=True)]
    assert lines[:3] == [
        "finding: GS01 `f1` waited",
        "  hint: h",
        "finding: GS01 `f2` waited (the worst of 2 like it;"
        " the trace has the first, and each twice as bad)",
    ]
    assert lines[-2:] == ["and 7 more findings: gilscope view shows them", ""]
    assert len(lines) == 12
    *_, more, _ = findings_lines(findings | {"worst": findings["worst"][:6]}, traced=False)
    assert more.plain == "and 4 more findings: --trace FILE.jsonl keeps them"
    none: dict[str, Any] = {"worst": [], "dropped": 0, "counts": {}}
    assert list(findings_lines(none, traced=True)) == []
