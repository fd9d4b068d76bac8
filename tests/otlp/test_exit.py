"""The end of a process that has spans left: in time, with its own exit code, each counted."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from accounts import said_in_numbers, two_lines
from faulty import LIMIT, REFUSED
from otelcol import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from faulty import Faulty

EXIT = """if True:
    import atexit, json, sys, threading, time

    counted = 0

    def count():
        global counted
        while True:
            counted += 1
            time.sleep(0.001)

    def balance():
        ticks = counted - before
        parts = gilscope.stats()["parts"].values()
        recorded = sum(part["count"] for part in parts)
        print(json.dumps([recorded, exporter.exported, exporter.lost, ticks]))

    def begins():
        global before
        before = counted

    atexit.register(balance)  # runs last
    import gilscope
    exporter = gilscope.instrument(otlp=sys.argv[1], close_within=json.loads(sys.argv[2]))
    rt = gilscope.py_runtime()
    for future in [rt.submit(int) for _ in range(100)]:
        future.result()
    assert exporter.exported == 0  # all of them are queued
    threading.Thread(target=count, daemon=True).start()
    atexit.register(begins)
    sys.setswitchinterval(100)  # a thread that is asked for the GIL keeps it
    sys.exit(3)
"""


# A time to close is none of the exit's, which has its own.
@pytest.mark.parametrize("close_within", ["null", "600"])
@pytest.mark.parametrize("collector", ["answers", "never answers", "refuses", "is absent"])
def test_b4_process_that_ends_with_spans_queued(
    faulty: Faulty, settings: Callable[..., None], collector: str, close_within: str
) -> None:
    settings(BSP_SCHEDULE_DELAY=600_000)
    url = f"http://127.0.0.1:{free_port()}" if collector == "is absent" else faulty.url
    if collector == "never answers":
        faulty.hold.clear()
    if collector == "refuses":
        faulty.answers = [REFUSED]
    command = [sys.executable, "-c", EXIT, url, close_within]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 3, done.stderr
    recorded, exported, lost, ticks = json.loads(done.stdout)
    assert recorded >= 700
    assert exported + sum(lost.values()) == recorded
    if collector == "answers":
        assert exported == recorded == len(set(faulty.ids()))
        assert done.stderr == ""
        return
    assert lost["export_failed" if collector == "refuses" else "closed"] == recorded
    _, total = two_lines(done.stderr)
    assert said_in_numbers(total) == (recorded, recorded, lost)
    if collector == "never answers":
        assert faulty.reached.is_set()
        assert ticks > 20
