"""What found no room in the ring while an exporter is open is said once, and what gives it room."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from faulty import counted

if TYPE_CHECKING:
    from faulty import Faulty

OVERFLOWS = """if True:
    import asyncio, json, sys
    import gilscope

    url, when = sys.argv[1:]

    async def overflows():
        while not gilscope.stats()["dropped"]["ring"]:
            for _ in range(10_000):
                await asyncio.sleep(0)

    if when == "before":
        with gilscope.PyRuntime() as rt:
            rt.call(overflows)
    with gilscope.instrument(otlp=url, close_within=60) as export:
        with gilscope.PyRuntime() as rt:
            rt.call(overflows if when == "while" else int)
    print(json.dumps([gilscope.stats()["dropped"]["ring"], export.lost]))
"""


@pytest.mark.parametrize("when", ["before", "while", "never"])
def test_records_that_found_no_room_while_it_was_open_are_said_at_its_end(
    faulty: Faulty, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    monkeypatch.setenv("GILSCOPE_RING", "64")
    done = subprocess.run(
        [sys.executable, "-c", OVERFLOWS, faulty.url, when],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    dropped, lost = json.loads(done.stdout)
    assert not any(lost.values())
    assert (dropped > 0) == (when != "never")
    assert counted("ring", faulty.metrics[-1]) == dropped
    said = (
        f"gilscope: {dropped} records were dropped before they were spans: the ring between a loop "
        "and the record has 64 slots, GILSCOPE_RING=128 doubles it\n"
    )
    assert done.stderr == (said if when == "while" else "")
