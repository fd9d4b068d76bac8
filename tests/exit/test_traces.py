"""Traces that nobody closed are whole when the process has ended, and hold up no exit."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD = """
import asyncio, atexit, gilscope, sys

path = sys.argv[1]
opened = gilscope.trace(path)

async def brief():
    await asyncio.sleep(0)

"""
TO_THE_END = """
opened.__enter__()
for _ in range(20):
    gilscope.py_runtime().call(brief)
"""
CALLS = {
    "the end": TO_THE_END,
    "sys.exit": f"{TO_THE_END}\nsys.exit()\n",
    # The file has only its head by then, for the converter comes by ten times a second.
    "at once": "opened.__enter__()\ngilscope.py_runtime().call(brief)\n",
    "in flight": TO_THE_END
    + """
import threading
started = threading.Semaphore(0)

async def for_ever():
    started.release()
    await asyncio.Event().wait()

for _ in range(20):
    gilscope.py_runtime().submit(for_ever)
for _ in range(20):
    started.acquire()
""",
    # Code that nothing gets out of the loop: neither it nor what waits behind it ends by itself.
    "held": TO_THE_END
    + """
import threading, time
held = threading.Event()

async def hold():
    held.set()
    time.sleep(3600)

gilscope.py_runtime().submit(hold)
held.wait()
for _ in range(20):
    gilscope.py_runtime().submit(brief)
""",
    "two runtimes": f"{TO_THE_END}\nother = gilscope.PyRuntime('other')\nother.call(brief)\n",
    # Registered before the library's own handler: runs after it.
    "stopped later": f"atexit.register(opened.__exit__, None, None, None)\n{TO_THE_END}",
}
SPANS = {"the end": 20, "sys.exit": 20, "at once": 1, "in flight": 40, "two runtimes": 21}
SPANS |= {"held": 41, "stopped later": 20}


def spans_of(path: Path) -> list[str]:
    """The names of the calls in a trace, which must be valid to its end."""
    if path.suffix == ".jsonl":
        spans = [json.loads(line) for line in path.read_text().splitlines()]
        return [span["name"] for span in spans if span["span"] == "call"]
    events = json.loads(path.read_text())["traceEvents"]
    begun = {"enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback"}
    calls = [e["name"] for e in events if e["ph"] == "b" and e["cat"] == "call"]
    return [name for name in calls if name not in begun]


@pytest.mark.parametrize("kind", ["json", "jsonl"])
@pytest.mark.parametrize("way", CALLS)
def test_l13_l14_an_open_trace_is_whole_after_the_exit(
    script: Callable[..., str], tmp_path: Path, way: str, kind: str
) -> None:
    path = tmp_path / f"trace.{kind}"
    assert script(HEAD + CALLS[way], path) == ""
    assert len(spans_of(path)) == SPANS[way]


def test_l13_an_open_trace_without_a_runtime_is_whole(
    script: Callable[..., str], tmp_path: Path
) -> None:
    path = tmp_path / "trace.json"
    script("import gilscope, sys\ngilscope.trace(sys.argv[1]).__enter__()", path)
    assert spans_of(path) == []


def test_l14_a_trace_that_takes_nothing_holds_up_no_exit(
    script: Callable[..., str], tmp_path: Path
) -> None:
    # A pipe that nobody reads: the head fits, what many calls leave does not.
    path = tmp_path / "pipe.json"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    code = """
    import asyncio, atexit, gilscope, sys

    async def brief():
        await asyncio.sleep(0)

    def stop():  # after the library's own handler: does not wait either
        try:
            opened.__exit__(None, None, None)
        except OSError as error:
            print("not whole")

    opened = gilscope.trace(sys.argv[1])
    atexit.register(stop)
    opened.__enter__()
    for _ in range(500):
        gilscope.py_runtime().call(brief)
    """
    try:
        assert script(code, path) == "not whole\n"
    finally:
        os.close(reader)


# "return" and "exit" close nothing, as docs/exit.md says.
@pytest.mark.parametrize("way", ["guard", "guard-finalize", "finalize"])
@pytest.mark.parametrize("situation", ["awaited", "suspended"])
def test_l13_l14_an_open_trace_of_an_embedded_program_is_whole(
    embedded: Any, tmp_path: Path, situation: str, way: str
) -> None:
    path = tmp_path / "trace.json"
    done = embedded.run("gilscope-embed-exit", situation, way, str(path))
    assert (done.returncode, done.stderr) == (0, "")
    # Suspended calls have begun or not.
    assert len(spans_of(path)) == 105 or situation == "suspended"
