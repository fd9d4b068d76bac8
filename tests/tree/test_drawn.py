"""What `gilscope tree` draws of a running process, in full."""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import time
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.cli import main

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.tree.conftest import Asked, Program

    Start = Callable[..., Program]
    Ask = Callable[..., Asked]

# Its first line is line 13 of the program.
APP = """
async def nap():
    await gilscope.rust.sleep(3600)

async def fetch():
    await nap()

async def child():
    await asyncio.Event().wait()

async def handler():
    await asyncio.gather(child(), fetch(), child())

async def end(event):
    await event.wait()

async def never():
    await asyncio.Event().wait()
"""


def drawn(asked: Asked) -> str:
    assert (asked.code, asked.err.count("\n")) == (0, 1), asked
    assert asked.err.startswith("next: gilscope tree ")
    return asked.text


def once(ask: Callable[[], str], says: str) -> str:
    """The first answer that says so."""
    end = time.monotonic() + 60
    while says not in (answer := ask()):
        assert time.monotonic() < end, answer
    return answer


def expected(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def test_calls_their_coroutines_their_tasks_and_what_they_await(start: Start, tree: Ask) -> None:
    program = start(
        APP
        + """
runtime = gilscope.PyRuntime("app")
futures = [runtime.submit(handler), runtime.submit(fetch), runtime.submit(gilscope.rust.sleep, 900)]
ready(6)
sys.stdin.read()
"""
    )
    assert drawn(tree(program.pid)) == expected("""
        process N python app.py
        └── loop gilscope-app  thread N, waiting for T
            ├── call __main__.handler  suspended T, 1 poll, T old
            │   ├── python  app.py:23 in handler
            │   ├── task __main__.child × 2, the oldest  suspended T, 1 poll, T old
            │   │   └── python  app.py:20 in child
            │   │       └── python  asyncio/locks.py:N in wait
            │   └── task __main__.fetch  suspended T, 1 poll, T old
            │       └── python  app.py:17 in fetch
            │           └── python  app.py:14 in nap
            │               └── rust    gilscope.rust.sleep
            ├── call __main__.fetch  suspended T, 1 poll, T old
            │   └── python  app.py:17 in fetch
            │       └── python  app.py:14 in nap
            │           └── rust    gilscope.rust.sleep
            └── call gilscope._native.rust_sleep  suspended T, 1 poll, T old
                └── rust    gilscope.rust.sleep
        """)


def test_a_call_made_inside_another_is_below_it(start: Start, tree: Ask) -> None:
    program = start(
        APP
        + """
one, other = gilscope.PyRuntime("one"), gilscope.PyRuntime("other")

async def both():
    await asyncio.gather(other.call_async(fetch), never())

future = one.submit(both)
# `both`, what `gather` makes of its two, and the call on the other runtime.
ready(4)
sys.stdin.read()
"""
    )
    assert drawn(tree(program.pid)) == expected("""
        process N python app.py
        ├── loop gilscope-one  thread N, waiting for T
        │   └── call __main__.both  suspended T, 1 poll, T old
        │       ├── python  app.py:34 in both
        │       ├── task ?  suspended T, 1 poll, T old
        │       │   └── rust    a call
        │       ├── task __main__.never  suspended T, 1 poll, T old
        │       │   └── python  app.py:29 in never
        │       │       └── python  asyncio/locks.py:N in wait
        │       └── call __main__.fetch on gilscope-other  suspended T, 1 poll, T old
        │           └── python  app.py:17 in fetch
        │               └── python  app.py:14 in nap
        │                   └── rust    gilscope.rust.sleep
        └── loop gilscope-other  thread N, waiting for T
            └── 1 below what made them
        """)


def test_with_all_each_is_drawn_by_itself(start: Start, tree: Ask) -> None:
    program = start(
        APP
        + """
runtime = gilscope.PyRuntime("app")
futures = [runtime.submit(never), runtime.submit(never)]
ready(2)
sys.stdin.read()
"""
    )
    assert drawn(tree(program.pid, "--all")) == expected("""
        process N python app.py
        └── loop gilscope-app  thread N, waiting for T
            ├── call __main__.never  suspended T, 1 poll, T old
            │   └── python  app.py:29 in never
            │       └── python  asyncio/locks.py:N in wait
            └── call __main__.never  suspended T, 1 poll, T old
                └── python  app.py:29 in never
                    └── python  asyncio/locks.py:N in wait
        """)


def test_a_poll_and_what_is_queued_behind_it(start: Start, tree: Ask) -> None:
    program = start(
        APP
        + """
async def busy():
    await asyncio.sleep(0)
    print("ready", flush=True)
    os.read(0, 1)  # holds the loop, and not the GIL

runtime = gilscope.PyRuntime("app", max_in_flight=2, queue_size=3)
first = runtime.submit(never)
while not any(each["phase"] == "suspended" for each in gilscope._native.in_flight()):
    time.sleep(0.001)
futures = [runtime.submit(busy)]
while not any(each["phase"] == "poll" for each in gilscope._native.in_flight()):
    time.sleep(0.001)
futures += [runtime.submit(never) for _ in range(5)]
threading.Event().wait()
"""
    )

    # They are on their way to the queue.
    assert once(lambda: drawn(tree(program.pid)), "2 calls waiting") == expected("""
        process N python app.py
        └── loop gilscope-app  thread N, running a poll of __main__.busy for T
            ├── call __main__.never  suspended T, 1 poll, T old
            │   └── python  app.py:29 in never
            │       └── python  asyncio/locks.py:N in wait
            ├── call __main__.busy  poll T, 2 polls, T old
            └── 3 calls queued, at most 2 in flight; 2 calls waiting for room in the queue
        """)


def test_a_process_whose_gil_is_held_answers_and_says_so(start: Start, tree: Ask) -> None:
    program = start(
        APP
        + """
runtime = gilscope.PyRuntime("app")
async def soon():
    while True:
        await asyncio.sleep(0.05)

libc = ctypes.PyDLL(None)  # its functions keep the GIL
future = runtime.submit(soon)
ready(1)
libc.sleep(600)
"""
    )
    assert once(lambda: drawn(tree(program.pid)), "for the GIL") == expected("""
        process N python app.py
        └── loop gilscope-app  thread N, waiting for the GIL for T
            └── call __main__.soon  suspended T, 1 poll, T old
                └── python  app.py:34 in soon
                    └── python  asyncio/tasks.py:N in sleep
        """)


# `reports` keeps the GIL for a while, until it is known by name if that is wanted, then for ever.
HOLDS = """
gilscope.stats()  # for the extension to find it
import gilscope_test_ext as ext

async def waits():
    pass

def render(seconds):
    ext.submit_with_gil(waits)
    ext.hold_gil(seconds)

def reports():
    while known and "`reports`" not in str(gilscope.stats()["findings"]["worst"]):
        render(0.1)
    print("ready", flush=True)
    render(600)

sys.setswitchinterval(30)
known = sys.argv[1] == "known"
runtime = gilscope.py_runtime()
runtime.call(waits)
threading.Thread(target=reports, name="reports").start()
sys.stdin.read()
"""


@pytest.mark.parametrize(("known", "name"), [("unknown", ""), ("known", " reports")])
def test_who_holds_the_gil_is_named_if_the_watchdog_saw_it(
    start: Start, tree: Ask, ext_dir: Path, known: str, name: str
) -> None:
    path = os.pathsep.join(filter(None, [str(ext_dir), os.environ.get("PYTHONPATH")]))
    slow = {"GILSCOPE_WATCHDOG": "1", "GILSCOPE_SLOW_GIL": "10ms"}
    program = start(HOLDS, known, PYTHONPATH=path, **slow)
    assert once(lambda: drawn(tree(program.pid)), "GIL  held") == expected(f"""
        process N python app.py {known}
        ├── GIL  held by thread N{name} at app.py:21 in render, seen T ago; a loop waits T
        └── loop gilscope-default  thread N, waiting for the GIL for T
            └── 1 call queued
        """)
    said = json.loads(tree(program.pid, "--json").out)
    gil, (loop,) = said["gil"], said["loops"]
    assert gil["tid"] in {int(tid) for tid in os.listdir(f"/proc/{program.pid}/task")}
    assert gil["tid"] not in (program.pid, loop["tid"])
    assert gil["thread"] == (name.strip() or None)
    assert gil["at"].endswith("/app.py:21 in render")
    assert 0 < gil["seen_ns"] < gil["waited_ns"]
    assert gil["waited_ns"] == loop["since_ns"]


def test_a_runtime_without_calls_and_none_at_all(start: Start, tree: Ask) -> None:
    program = start(
        """
        runtime = gilscope.PyRuntime("idle")
        runtime.call(asyncio.sleep, 0)
        tree = gilscope.instrument(tree=True)
        print("ready", flush=True)
        sys.stdin.readline()
        runtime.shutdown()
        print("stopped", flush=True)
        sys.stdin.read()
        """
    )
    assert drawn(tree(program.pid)) == expected("""
        process N python app.py
        └── loop gilscope-idle  thread N, waiting for T
            └── no calls
        """)
    assert program.process.stdin is not None
    program.process.stdin.write("\n")
    program.process.stdin.flush()
    assert program.line() == "stopped"
    assert drawn(tree(program.pid)) == expected("""
        process N python app.py
        └── no runtime of gilscope: nothing is called
        """)


def test_a_loop_that_is_not_gilscopes_own_and_nothing_recorded(start: Start, tree: Ask) -> None:
    text = """
        import uvloop
        runtime = gilscope.PyRuntime("other", loop_factory=uvloop.new_event_loop)
        started = threading.Event()

        async def never():
            started.set()
            await asyncio.Event().wait()

        future = runtime.submit(never)
        started.wait()
        """
    program = start(text + "ready(1)\n        sys.stdin.read()")
    assert drawn(tree(program.pid)) == expected("""
        process N python app.py
        └── loop gilscope-other  thread N, what it waits for is not seen
            └── call __main__.never  suspended T, 1 poll, T old
                └── python  app.py:19 in never
                    └── python  asyncio/locks.py:N in wait
        """)
    program = start(text + "ready(0)\n        sys.stdin.read()", GILSCOPE_DETAIL="off")
    assert drawn(tree(program.pid)) == expected("""
        process N python app.py
        ├── loop gilscope-other  thread N, what it waits for is not seen
        │   └── no calls
        └── nothing is recorded: GILSCOPE_DETAIL=off
        """)


def test_names_of_user_code_do_not_reach_the_terminal(start: Start, tree: Ask) -> None:
    program = start(
        """
        async def evil():
            await asyncio.Event().wait()

        name = "[red]\\x1b[2J\\u202e\\n:smile:"
        runtime = gilscope.PyRuntime("app")
        future = runtime.submit(evil)
        named = runtime.options(name=name).submit(evil)
        ready(2)
        sys.stdin.read()
        """
    )
    asked = tree(program.pid)
    assert "call [red]\\x1b[2J\\u202e\\n:smile:  suspended" in drawn(asked)
    assert "\x1b" not in asked.out


def test_as_json_it_is_what_the_process_said(start: Start, tree: Ask) -> None:
    program = start(
        APP
        + """
runtime = gilscope.PyRuntime("app", max_in_flight=3)
future = runtime.submit(handler)
ready(4)
sys.stdin.read()
"""
    )
    asked = tree(program.pid, "--json")
    assert (asked.code, asked.err) == (0, "")
    said: dict[str, Any] = json.loads(asked.out)
    assert said["gilscope_tree"] == 1
    assert (said["pid"], said["detail"], said["left_out"]) == (program.pid, "full", 0)
    (loop,) = said["loops"]
    assert (loop["thread"], loop["doing"]) == ("gilscope-app", "waiting")
    (queue,) = said["queues"]
    counts = {"queued": 0, "waiting": 0, "max_in_flight": 3}
    assert queue == {"runtime": loop["runtime"], "name": "app", **counts}
    call, *tasks = said["open"]
    assert call["span"] == "call"
    assert call["name"] == "__main__.handler"
    assert {each["parent"] for each in tasks} == {each["call"] for each in tasks} == {call["id"]}
    assert sorted(each["name"] for each in tasks) == [
        "__main__.child",
        "__main__.child",
        "__main__.fetch",
    ]
    (fetch,) = (each for each in tasks if each["name"] == "__main__.fetch")
    assert [next(iter(link)) for link in fetch["chain"]] == ["python", "python", "rust"]
    assert fetch["chain"][1]["python"] == fetch["at"]
    assert all(0 <= each["since_ns"] <= each["age_ns"] for each in said["open"])


def test_without_a_number_those_that_can_be_asked_are_listed(start: Start, tree: Ask) -> None:
    program = start(
        APP
        + """
runtime = gilscope.PyRuntime("app")
future = runtime.submit(handler)
ready(4)
sys.stdin.read()
"""
    )
    # There may be others, of other tests that run now; and where all are slow, one may
    # give no answer in the time that it has here.
    assert once(lambda: tree().out, f"{program.pid}  python app.py: 1 call in flight\n")
    assert re.fullmatch(r"next: gilscope tree \d+\n", tree().err)

    def calls() -> str:
        rows = json.loads(tree("--json").out)
        return str([row.get("calls") for row in rows if row["pid"] == program.pid])

    assert once(calls, "[1]") == "[1]"


def test_without_a_number_and_nobody_to_ask(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.modules["gilscope.cli.tree"], "askable", list)
    assert main(["tree"]) == 0
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "no process of this user can be asked",
        "next: GILSCOPE_TREE=1 python app.py",
    ]
