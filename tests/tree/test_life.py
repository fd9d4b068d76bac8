"""The socket's life: exits, forks, programs that are replaced or killed, and what they leave."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tree.conftest import Asked, Program

    Start = Callable[..., Program]
    Ask = Callable[..., Asked]

BEGIN = """
runtime = gilscope.PyRuntime("app")
runtime.call(asyncio.sleep, 0)
"""


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(3)", 3), ("raise ValueError", 1), ("ctypes.CDLL(None).exit(5)", 5)],
)
def test_an_exit_removes_the_socket(start: Start, end: str, code: int) -> None:
    program = start(BEGIN + f"print('ready', flush=True)\nsys.stdin.read()\nos.close(2)\n{end}")
    assert program.socket.is_socket()
    assert program.end() == code
    assert not program.socket.exists()


def test_what_a_killed_process_leaves_is_told_of_and_removed_by_the_next(
    start: Start, tree: Ask
) -> None:
    text = BEGIN + "print('ready', flush=True)\nsys.stdin.read()"
    killed = start(text)
    killed.kill()
    assert killed.socket.is_socket()
    asked = tree(killed.pid)
    assert (asked.code, asked.out) == (2, "")
    assert asked.err == (
        f"error: there is no process {killed.pid}; it left {killed.socket} behind\n"
    )
    other = start(text)
    assert not killed.socket.exists()
    assert tree(killed.pid).err == f"error: there is no process {killed.pid}\n"
    assert tree(other.pid).code == 0


def test_a_program_that_was_replaced_does_not_answer_any_more(start: Start, tree: Ask) -> None:
    program = start(
        BEGIN
        + """
os.set_inheritable(0, True)
os.execv(sys.executable, [sys.executable, "-c", "print('ready', flush=True); input()"])
"""
    )
    assert program.socket.is_socket()
    asked = tree(program.pid)
    assert (asked.code, asked.out, asked.err.count("\n")) == (2, "", 1)
    assert f"process {program.pid} does not answer any more: {program.socket} is left" in asked.err
    # Not among those that can be asked, either: it says why.
    assert "does not answer any more" in tree().out


def test_a_replaced_program_takes_the_place_of_the_one_before(start: Start, tree: Ask) -> None:
    program = start(
        """
        runtime = gilscope.PyRuntime("app")
        runtime.call(asyncio.sleep, 0)
        if len(sys.argv) == 1:
            os.execv(sys.executable, [sys.executable, "app.py", "again"])
        print("ready", flush=True)
        sys.stdin.read()
        """
    )
    assert tree(program.pid).code == 0


FORK = """
runtime = gilscope.PyRuntime("app")
runtime.call(asyncio.sleep, 0)
go, going = os.pipe()
child = os.fork()
if not child:
    os.read(go, 1)
    {then}
print(child, flush=True)
print("ready", flush=True)
sys.stdin.readline()
os.write(going, b"x")
print(os.waitpid(child, 0)[1], flush=True)
sys.stdin.read()
"""


def forked(start: Start, then: str, **variables: str) -> tuple[Program, int]:
    text = FORK.format(then=then)
    program = start("print('ready', flush=True)\n" + text, **variables)
    child = int(program.line())
    assert program.line() == "ready"
    return program, child


def go_on(program: Program) -> str:
    assert program.process.stdin is not None
    program.process.stdin.write("\n")
    program.process.stdin.flush()
    return program.line()


def has_open(pid: int, path: Path) -> bool:
    """Whether a process has a socket open that is bound to this path."""
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    bound = {f"socket:[{row[6]}]" for row in rows if row[7:] == [str(path)]}
    folder = f"/proc/{pid}/fd"
    return bool(bound & {os.readlink(f"{folder}/{fd}") for fd in os.listdir(folder)})


@pytest.mark.parametrize("ends", ["os._exit(0)", "sys.exit(0)"])
def test_a_forked_child_is_not_its_parent(start: Start, tree: Ask, ends: str) -> None:
    program, child = forked(start, ends)
    asked = tree(child)
    assert (asked.code, asked.out) == (2, "")
    assert f"process {child} does not answer yet" in asked.err
    assert tree(program.pid).code == 0
    assert has_open(program.pid, program.socket)
    assert not has_open(child, program.socket)
    # Its end leaves the parent's socket where it is.
    assert go_on(program) == "0"
    assert tree(program.pid).code == 0


def test_the_parents_socket_dies_with_the_parent(start: Start) -> None:
    program, child = forked(start, "os._exit(0)")
    try:
        program.kill()
        with socket.socket(socket.AF_UNIX) as client, pytest.raises(ConnectionRefusedError):
            client.connect(str(program.socket))
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_with_a_runtime_answers_for_itself(start: Start, tree: Ask) -> None:
    then = """
    own = gilscope.PyRuntime("child")
    own.call(asyncio.sleep, 0)
    print("begun", flush=True)
    sys.stdin.readline()
    sys.exit(0)
    """
    program, child = forked(start, then)
    assert go_on(program) == "begun"
    text = tree(child).text
    assert "loop gilscope-child" in text
    assert "loop gilscope-app" not in text
    parent = tree(program.pid).text
    assert "loop gilscope-app" in parent
    assert "loop gilscope-child" not in parent
    assert program.process.stdin is not None
    program.process.stdin.write("\n")
    program.process.stdin.flush()
    assert program.line() == "0"
    assert program.socket.is_socket()
    assert not program.socket.with_name(f"{child}.sock").exists()


def test_gilscope_run_answers_while_it_runs(
    environment: dict[str, str], folder: Path, tmp_path: Path, tree: Ask
) -> None:
    (tmp_path / "app.py").write_text(
        "import asyncio, sys\n"
        "async def never(x):\n"
        "    print('ready', file=sys.stderr, flush=True)\n"
        "    await asyncio.Event().wait()\n"
    )
    (tmp_path / "in").write_text("1\n")
    for variable, answers in (("", True), ("0", False)):
        with ExitStack() as stack:
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "gilscope", "run", "app.py:never", "--input", "in"],
                    cwd=tmp_path,
                    env={**environment, "GILSCOPE_TREE": variable},
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)  # before it is waited for, also where the test fails
            assert process.stderr is not None
            assert process.stderr.readline() == "ready\n"
            assert (tree(process.pid).code == 0) is answers
            process.send_signal(signal.SIGINT)
            process.stderr.read()
            assert process.wait(timeout=30) == 130
        assert not list(folder.rglob("*.sock"))
