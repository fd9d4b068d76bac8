"""The wall clock is stepped while calls run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROGRAM = """
import asyncio, ctypes, threading, time
import gilscope

LONG = 20 * 60  # seconds: the calls here take less, the steps are much longer
step = ctypes.CDLL(None).step_wall_clock
step.argtypes = [ctypes.c_int64]
over = threading.Event()
seen = set()

def jump():
    while not over.is_set():
        for days in (1, -1, 3, -400, 0):
            step(days * 86400)
            seen.add(round((time.time() - began) / 86400))
            time.sleep(0.003)
    step(0)

def expires(call):
    try:
        call()
    except gilscope.DeadlineExceeded:
        return True
    return False

async def in_rust(seconds):
    async with asyncio.timeout(LONG):
        await gilscope.rust.sleep(seconds)

began = time.time()
rt = gilscope.PyRuntime("stepped")
jumping = threading.Thread(target=jump)
with gilscope.trace() as trace:
    jumping.start()
    end = time.monotonic() + 1.5  # the clock of spans measures its rate again after a second
    rounds = 0
    while time.monotonic() < end:
        assert not expires(lambda: rt.options(deadline=LONG).call(asyncio.sleep, 0.01))
        assert not expires(lambda: rt.options(deadline=LONG).submit(in_rust, 0.01).result())
        assert expires(lambda: rt.options(deadline=0.02).call(asyncio.sleep, LONG))
        assert expires(lambda: rt.options(deadline=0.02).submit(in_rust, LONG).result())
        rounds += 1
    rt.call(int)
    # Who waited for the last one was told at its deadline; it may end a little later.
    assert rt.shutdown("drain", deadline=LONG)["joined"], "not joined"
    spans = trace.spans
over.set()
jumping.join()
assert {1, -1, 3, -400} <= seen, seen
BESIDE = ("task", "rust.poll")
calls = [span for span in spans if span["span"] == "call"]
assert len(calls) == 4 * rounds + 1, (len(calls), rounds)
first = min(span["start_ns"] for span in spans)
for span in spans:
    assert 0 <= span["dur_ns"] < LONG * 10**9, span
    assert span["start_ns"] - first < LONG * 10**9, span
for call in calls:
    parts = [span for span in spans if span["parent"] == call["id"] and span["span"] not in BESIDE]
    assert sum(span["dur_ns"] for span in parts) == call["dur_ns"], (call, parts)
print("stepped")
"""


def test_t2_steps_of_the_wall_clock_move_no_deadline_and_no_span(tmp_path: Path) -> None:
    library = tmp_path / "libwall_clock.so"
    source = Path(__file__).with_name("wall_clock.rs")
    subprocess.run(
        ["rustc", "--edition=2024", "-O", "--crate-type=cdylib", "-o", library, source],
        check=True,
        timeout=100,
    )
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env={**os.environ, "LD_PRELOAD": str(library)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "stepped\n", "")
