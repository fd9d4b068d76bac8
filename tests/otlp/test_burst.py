"""A million spans while a collector does not answer: memory is bounded, each is counted."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

from accounts import said_in_numbers, two_lines
from faulty import LIMIT

if TYPE_CHECKING:
    from faulty import Faulty

# Of a million spans, kept, more than 200 MB. The queue has 16 of them.
ROOM_KB = 100_000

CODE = """if True:
    import asyncio, json, sys, gilscope

    def resident():
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))

    async def polls(number):
        for _ in range(number):
            await asyncio.sleep(0)

    def burst(rt, spans):
        made = 0
        while made < spans:
            for future in [rt.submit(polls, 499) for _ in range(60)]:
                future.result(30)
            made += 60 * 1000
            # The ring is bounded as well: what it lacks were no spans.
            assert gilscope.stats()["dropped"]["ring"] == 0

    exporter = gilscope.instrument(otlp=sys.argv[1], watchdog=False)
    rt = gilscope.PyRuntime()
    burst(rt, 100_000)  # so much fills the queue
    before = resident()
    burst(rt, 1_000_000)
    grown = resident() - before
    taken = exporter.exported
    rt.shutdown()
    exporter.close()
    parts = gilscope.stats()["parts"].values()
    recorded = sum(part["count"] for part in parts)
    print(json.dumps([recorded, taken, exporter.exported, exporter.lost, grown]))
"""


def test_b4_burst_of_a_million_spans(faulty: Faulty) -> None:
    faulty.hold.clear()
    command = [sys.executable, "-c", CODE, faulty.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=4 * LIMIT)
    assert done.returncode == 0, done.stderr
    recorded, taken, exported, lost, grown = json.loads(done.stdout)
    assert taken == 0  # all calls ended while it did not answer
    assert recorded > 1_000_000
    assert exported + sum(lost.values()) == recorded
    assert {reason for reason, count in lost.items() if count} == {"queue_full", "closed"}
    assert lost["closed"] <= 65_536 + 2_048  # the queue, and what was on its way
    assert grown < ROOM_KB
    _, total = two_lines(done.stderr)
    assert said_in_numbers(total) == (recorded, recorded, lost)
