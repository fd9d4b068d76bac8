"""What the tests of `gilscope tree` share: programs that can be asked, and asking them."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# In front of each program: wait until so many calls and tasks are in a phase, then say so.
PRELUDE = """
import asyncio, ctypes, os, sys, threading, time
import gilscope


def ready(count, phase="suspended"):
    while sum(each["phase"] == phase for each in gilscope._native.in_flight()) != count:
        time.sleep(0.001)
    print("ready", flush=True)


"""


def normal(text: str) -> str:
    """A drawing without numbers that change from run to run."""
    text = re.sub(r"\b[\d.,]+ (?:ns|µs|ms|s|min)\b", "T", text)
    text = re.sub(r"\b(process|thread) \d+", r"\1 N", text)
    # A place of Python's own library: `in Event.wait` on some versions.
    return re.sub(r"(asyncio/\w+\.py):\d+ in (?:\w+\.)?(\w+)", r"\1:N in \2", text)


@dataclass(frozen=True)
class Asked:
    """How `gilscope tree` ended."""

    code: int
    out: str
    err: str

    @property
    def text(self) -> str:
        """What it drew, without numbers that change from run to run."""
        return normal(self.out)


class Program:
    """A program that runs until its standard input ends."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self.process = process
        self.pid = process.pid
        self.socket = folder / f"gilscope-{os.geteuid()}" / f"{process.pid}.sock"

    def line(self) -> str:
        """The next line that it prints."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self) -> int:
        """Let it end by itself, and return its exit code."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        return self.process.wait(timeout=30)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(timeout=30)

    def open_files(self) -> int:
        return len(os.listdir(f"/proc/{self.pid}/fd"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where sockets are in this test; pytest's own would be too long for their paths."""
    made = Path(tempfile.mkdtemp(prefix="gs-", dir="/tmp"))
    yield made
    shutil.rmtree(made)


@pytest.fixture
def environment(folder: Path) -> dict[str, str]:
    """As this process', but for what `gilscope tree` looks at."""
    kept = {key: value for key, value in os.environ.items() if key != "XDG_RUNTIME_DIR"}
    return {**kept, "TMPDIR": str(folder), "GILSCOPE_TREE": "1", "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def start(
    environment: dict[str, str], folder: Path, tmp_path: Path
) -> Iterator[Callable[..., Program]]:
    """Start a program, wait for its first line, `ready`, and end it after the test."""
    with contextlib.ExitStack() as stack:

        def start(
            text: str,
            *args: str,
            says: str = "ready",
            prelude: str = PRELUDE,
            file: str = "app.py",
            **variables: str,
        ) -> Program:
            (tmp_path / file).write_text(prelude + textwrap.dedent(text))
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, file, *args],
                    cwd=tmp_path,
                    env={**environment, **variables},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            stack.callback(process.kill)
            program = Program(process, folder)
            assert program.line() == says
            return program

        yield start


@pytest.fixture
def tree(environment: dict[str, str]) -> Callable[..., Asked]:
    """Run `gilscope tree` as users do."""

    def run(*args: object) -> Asked:
        done = subprocess.run(
            [sys.executable, "-m", "gilscope", "tree", *map(str, args)],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return Asked(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def without_numbers() -> Callable[[str], str]:
    return normal
