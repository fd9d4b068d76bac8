"""Clients and answers that are not as they should be: nobody waits long, nothing stays open."""

from __future__ import annotations

import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

import pytest

from gilscope.cli.ask import ask
from gilscope.cli.branches import draw
from gilscope.cli.errors import Refused

from .conftest import Asked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.tree.conftest import Program

    Start = Callable[..., Program]
    Ask = Callable[..., Asked]

IDLE = """
runtime = gilscope.PyRuntime("app")
runtime.call(asyncio.sleep, 0)
print("ready", flush=True)
sys.stdin.read()
"""

# Answers with what it is given, under its own number or the one it is told.
FAKE = """
import os, socket, sys
folder = sys.argv[1]
os.makedirs(folder, 0o700, exist_ok=True)
listener = socket.socket(socket.AF_UNIX)
listener.bind(f"{folder}/{sys.argv[3] if len(sys.argv) > 3 else os.getpid()}.sock")
listener.listen()
print("ready", flush=True)
while True:
    client, _ = listener.accept()
    client.recv(100)
    client.sendall(os.fsencode(sys.argv[2]))
    client.close()
"""


@pytest.fixture
def fake(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start a process that answers with something of the test's own."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: object) -> subprocess.Popen[str]:
        own = f"{folder}/gilscope-{os.geteuid()}"
        process = subprocess.Popen(
            [sys.executable, "-c", FAKE, own, *map(str, args)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def here(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask from this process."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)
    monkeypatch.setenv("TMPDIR", str(folder))


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ('{"gilscope_tree":1,"op', "breaks off after 22 bytes"),
        ("", "breaks off after 0 bytes"),
        ("nothing\n", "is no JSON"),
        ("\udcff\n", "is no JSON"),
        ("[1]\n", "speaks another version"),
        ('{"gilscope_tree":2}\n', "speaks another version"),
        ('{"gilscope_tree":1,"loops":[],"queues":[]}\n', "is not whole"),
        ('{"gilscope_tree":1,"loops":[{}],"queues":[],"open":[]}\n', "is not whole"),
        ('{"gilscope_tree":1,"error":"not\\nyou"}\n', "refused: not you"),
    ],
)
def test_an_answer_that_is_none_is_one_clear_line(
    fake: Callable[..., subprocess.Popen[str]], tree: Ask, answer: str, why: str
) -> None:
    process = fake(answer)
    asked = tree(process.pid)
    assert (asked.code, asked.out, asked.err.count("\n")) == (2, "", 1), asked
    assert asked.err.startswith("error: ")
    assert why in asked.err


def test_another_process_is_not_believed(
    fake: Callable[..., subprocess.Popen[str]], tree: Ask
) -> None:
    process = fake('{"gilscope_tree":1,"loops":[],"queues":[],"open":[]}\n', os.getpid())
    asked = tree(os.getpid())
    assert (asked.code, asked.out) == (2, "")
    assert f"it is not process {os.getpid()} that answers, but {process.pid}" in asked.err


@pytest.mark.usefixtures("here")
def test_a_process_that_is_stopped_is_not_waited_for(start: Start) -> None:
    program = start(IDLE)
    os.kill(program.pid, signal.SIGSTOP)
    os.waitpid(program.pid, os.WUNTRACED)
    with pytest.raises(Refused) as refused:
        ask(program.pid, patience=0.1)
    assert refused.value.message == (
        f"process {program.pid} did not answer within 0.1 s: it is stopped"
    )
    assert refused.value.hint == f"kill -CONT {program.pid} lets it go on"
    os.kill(program.pid, signal.SIGCONT)
    assert ask(program.pid, patience=30)["pid"] == program.pid


@pytest.mark.parametrize("pid", ["0", "-1", "abc", "1.5", "", "٣", "9" * 5000, "a\x1b[31m\nb"])
def test_what_is_no_number_of_a_process_is_one_clear_line(tree: Ask, pid: str) -> None:
    asked = tree("--", pid)
    assert (asked.code, asked.out, asked.err.count("\n")) == (2, "", 1), asked
    assert asked.err.startswith("error: PID must be the number of a process, not '")
    assert asked.err.endswith(" (hint: `gilscope tree` lists the processes that can be asked)\n")
    assert "\x1b" not in asked.err


def test_a_number_that_no_process_has_is_one_clear_line(tree: Ask) -> None:
    asked = tree("99999999999")
    assert asked == Asked(2, "", "error: there is no process 99999999999\n")


def connect(program: Program) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.settimeout(30)
    client.connect(str(program.socket))
    return client


@pytest.mark.usefixtures("here")
def test_clients_that_say_nothing_keep_nobody_else_waiting(start: Start) -> None:
    program = start(IDLE)
    end = time.monotonic() + 60
    waited = True
    while waited:
        assert time.monotonic() < end, "an answer came only after those before had been let go of"
        with ExitStack() as stack:
            silent = [stack.enter_context(connect(program)) for _ in range(7)]
            assert ask(program.pid, patience=30)["pid"] == program.pid
            # On a machine so busy that they were let go of meanwhile, that says nothing.
            waited = bool(select.select(silent, [], [], 0)[0])
            # All of them are, in the end.
            assert [client.recv(1) for client in silent] == [b""] * 7


@pytest.mark.usefixtures("here")
def test_two_clients_at_once(start: Start) -> None:
    program = start(IDLE)
    both = threading.Barrier(2)

    def one(_: int) -> int:
        both.wait(timeout=30)
        answer = ask(program.pid, patience=30)
        return int(answer["pid"])

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(one, range(2))) == [program.pid] * 2


def test_a_question_that_is_none_is_refused(start: Start) -> None:
    program = start(IDLE)
    for question in (b"\n", b"GET / HTTP/1.1\r\n", b'{"gilscope_tree":0}\n', b"[" * 2000 + b"\n"):
        with connect(program) as client:
            client.sendall(question)
            answer = client.recv(1000)
        assert answer.startswith(b'{"error":"')
        assert answer.endswith(b'"gilscope_tree":1}\n')
    with connect(program) as client:
        client.sendall(b"x" * 5000)  # without an end
        with suppress(ConnectionResetError):  # it was not read to its end
            assert client.recv(1000) == b""


@pytest.mark.usefixtures("here")
def test_clients_leave_nothing_open(
    start: Start, eventually: Callable[[Callable[[], object]], None]
) -> None:
    program = start(IDLE)
    before = program.open_files()
    for _ in range(100):
        assert ask(program.pid, patience=30)["open"] == []
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: ask(program.pid, patience=30), range(100)))
    assert [answer["open"] for answer in answers] == [[]] * 100
    # Fewer, too: it may have been about to close something when it was ready.
    eventually(lambda: program.open_files() <= before)


@pytest.mark.usefixtures("here")
def test_many_calls_are_cut_and_drawn_as_one(
    start: Start, without_numbers: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    program = start(
        """
        async def never(number):
            await asyncio.Event().wait()

        runtime = gilscope.PyRuntime("app")
        futures = [runtime.submit(never, number) for number in range(20_010)]
        ready(20_010)
        sys.stdin.read()
        """
    )
    answer = ask(program.pid, patience=60)
    assert (len(answer["open"]), answer["left_out"]) == (20_000, 10)
    draw(answer, "")
    text = without_numbers(capsys.readouterr().out)
    assert "call __main__.never × 20,000, the oldest  suspended T, 1 poll, T old" in text
    assert "left out: the 10 youngest" in text
    assert text.count("\n") == 6
