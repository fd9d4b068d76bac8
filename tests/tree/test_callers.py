"""Who made a call from Rust: the task, and the place in its source."""

from __future__ import annotations

import json
import os
import re
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.cli.branches import draw

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tree.conftest import Asked, Program

    Start = Callable[..., Program]
    Ask = Callable[..., Asked]

ROOT = Path(__file__).parents[2]

# Its functions wait for 20 s, which is how long these programs can be asked.
APP = """
gilscope.stats()  # the extension looks for the imported native module
import gilscope_test_ext as ext

def begin(*calls):
    for function, *args in calls:
        threading.Thread(target=function, args=args, daemon=True).start()

async def never():
    await asyncio.Event().wait()

async def outer():
    await ext.calls_below(never)

async def nap(number):
    await never()

async def sleeps():
    await gilscope.rust.sleep(3600)

async def asks():
    await sleeps()

async def numbers():
    yield 1
    await never()
"""


@pytest.fixture
def begun(start: Start, ext_dir: Path) -> Callable[[str], Program]:
    """Start a program that has the test extension."""
    path = os.pathsep.join(filter(None, [str(ext_dir), os.environ.get("PYTHONPATH")]))
    return lambda text: start(APP + textwrap.dedent(text) + "\nsys.stdin.read()", PYTHONPATH=path)


def answer(asked: Asked) -> list[dict[str, Any]]:
    assert asked.code == 0, asked
    entries: list[dict[str, Any]] = json.loads(asked.out)["open"]
    return entries


def source(made_at: str) -> str:
    """The line of Rust that a place names."""
    file, line = made_at.rsplit(":", 1)
    return (ROOT / file).read_text().splitlines()[int(line) - 1]


def drawn(asked: Asked) -> str:
    """What was drawn, without the numbers of lines and tasks."""
    text = re.sub(r"(\.rs|\.py):\d+", r"\1:N", asked.text)
    return re.sub(r"rust task \d+", "rust task N", text)


def test_a_task_its_call_what_that_awaits_and_the_call_made_there(
    begun: Callable[[str], Program], tree: Ask
) -> None:
    program = begun("begin((ext.call, outer))\nready(2)")
    waits = "suspended T, 1 poll, T old"
    assert (
        drawn(tree(program.pid))
        == f"""\
process N python app.py
└── loop gilscope-default  thread N, waiting for T
    └── rust task N
        └── call __main__.outer from tests/ext/src/calls.rs:N  {waits}
            ├── python  app.py:N in outer
            │   └── rust    of another library
            └── rust task N
                └── call __main__.never from tests/ext/src/trace.rs:N  {waits}
                    └── python  app.py:N in never
                        └── python  asyncio/locks.py:N in wait
"""
    )
    entries = answer(tree(program.pid, "--json"))
    assert len({entry["rust_task"] for entry in entries}) == 2
    assert ["call_async" in source(entry["made_at"]) for entry in entries] == [True, True]


def test_a_chain_through_both_languages_ends_at_the_rust_future_that_is_awaited(
    begun: Callable[[str], Program], tree: Ask
) -> None:
    program = begun("begin((ext.call, asks))\nready(1)")
    assert (
        drawn(tree(program.pid))
        == """\
process N python app.py
└── loop gilscope-default  thread N, waiting for T
    └── rust task N
        └── call __main__.asks from tests/ext/src/calls.rs:N  suspended T, 1 poll, T old
            └── python  app.py:N in asks
                └── python  app.py:N in sleeps
                    └── rust    gilscope.rust.sleep
"""
    )


@pytest.mark.parametrize(
    ("call", "line"),
    [
        ("ext.call_with, never, ()", "let mut call = given(runtime)?.call("),
        ("ext.call_fun, never", "call_async_fun("),
        ("ext.process, nap, [1]", "process_coroutines("),
        ("ext.collect, numbers", "runtime.call("),
        ("ext.send, 'closure', never", ".call("),
    ],
)
def test_each_way_to_call_says_where_it_was_called(
    begun: Callable[[str], Program], tree: Ask, call: str, line: str
) -> None:
    program = begun(f"begin(({call}))\nready(1)")
    [entry] = answer(tree(program.pid, "--json"))
    assert line in source(entry["made_at"])
    assert entry["rust_task"] is not None


def test_a_call_from_no_task_has_a_place_alone(begun: Callable[[str], Program], tree: Ask) -> None:
    program = begun("begin((ext.call_blocking, never))\nready(1)")
    [entry] = answer(tree(program.pid, "--json"))
    assert ".call_blocking" in source(entry["made_at"])
    assert entry["rust_task"] is None
    assert "── call __main__.never from tests/ext/src/blocking.rs:" in tree(program.pid).out


def test_tasks_that_look_alike_are_drawn_once(begun: Callable[[str], Program], tree: Ask) -> None:
    program = begun(
        """
        begin((ext.flood, nap, 3), (ext.call, never))
        ready(4)
        """
    )
    text = drawn(tree(program.pid))
    assert text.count("rust task N") == 2
    assert "rust task N and 2 alike\n" in text
    assert text.count("call __main__.nap from ") == 1
    assert drawn(tree(program.pid, "--all")).count("rust task N\n") == 4


def test_a_call_from_python_is_said_to_be_from_nowhere(
    begun: Callable[[str], Program], tree: Ask
) -> None:
    program = begun(
        """
        async def await_it():
            await gilscope.py_runtime().call_async(never)

        async def stream_it():
            async for _ in gilscope.py_runtime().stream(numbers):
                pass

        kept = [gilscope.py_runtime().submit(each) for each in (await_it, stream_it)]
        ready(4)
        """
    )
    entries = answer(tree(program.pid, "--json"))
    assert len(entries) == 4
    assert {(entry["made_at"], entry["rust_task"]) for entry in entries} == {(None, None)}
    assert "rust task" not in tree(program.pid).out
    assert " from " not in tree(program.pid).out


def test_a_call_that_began_before_anybody_wanted_the_tree_has_no_caller(
    start: Start, ext_dir: Path, tree: Ask
) -> None:
    path = os.pathsep.join(filter(None, [str(ext_dir), os.environ.get("PYTHONPATH")]))
    text = """
        begin((ext.call, never))
        while not gilscope._native.in_flight():
            time.sleep(0.001)
        open = gilscope.instrument(tree=True)
        begin((ext.call, never))
        ready(2)
        sys.stdin.read()
        """
    program = start(APP + textwrap.dedent(text), PYTHONPATH=path, GILSCOPE_TREE="0")
    entries = answer(tree(program.pid, "--json"))
    assert [entry["made_at"] is None for entry in entries] == [True, False]


def test_an_answer_of_a_process_that_says_nothing_of_callers_is_drawn(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call = {
        "span": "call",
        "runtime": 1,
        "tid": 7,
        "id": "01",
        "parent": None,
        "call": "01",
        "name": "f",
        "phase": "suspended",
        "age_ns": 1,
        "since_ns": 1,
        "polls": 1,
        "at": None,
        "chain": [],
    }
    crate = "/home/u/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/hyper-1.0/src/a.rs:7"
    newer = {**call, "id": "02", "made_at": crate, "rust_task": 5}
    loop = {"runtime": 1, "thread": "gilscope", "tid": 7, "doing": "waiting", "since_ns": 1}
    answer = {
        "gilscope_tree": 1,
        "pid": 1 << 30,
        "version": "0",
        "detail": "full",
        "loops": [loop],
        "queues": [],
        "open": [call, newer],
        "left_out": 0,
    }
    draw(answer, "python")
    text = capsys.readouterr().out
    assert "── call f  suspended" in text
    assert "rust task 5\n" in text
    assert "call f from hyper-1.0/src/a.rs:7  suspended" in text
