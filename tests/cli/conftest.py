"""What the tests of the command line share: a folder with functions, and `gilscope` run in it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FUNCTIONS = """
import asyncio
import ctypes
import signal
import time

import gilscope


async def double(x):
    await gilscope.rust.sleep(0.001)
    return 2 * x


async def picky(x):
    if x % 2:
        raise ValueError(f"no {x}")
    return x


async def echo(x):
    return x


async def unholdable(x):
    return {"set": {1}, "nan": float("nan"), "bytes": b"x", "object": object()}[x]


async def loud(x):
    print("printed by the function")
    return x


async def forever(x):
    await asyncio.Event().wait()


async def slow_odd(x):
    await asyncio.sleep(3600 if x % 2 else 0)
    return x


async def cancels_itself(x):
    raise asyncio.CancelledError


async def two(a, b):
    return a


async def agen(x=0):
    for i in range(20):
        await asyncio.sleep(0)
        yield i


def plain(x):
    return x + 1


def ten():
    yield from range(10)


def breaks_after_three():
    yield from range(3)
    raise RuntimeError("the generator broke")


def breaks_at_once():
    raise RuntimeError("the generator broke")
    yield


def endless():
    i = 0
    while True:
        yield i
        i += 1


def one_then_wait():
    yield 0
    time.sleep(3600)


def interrupts_itself():
    # Written in C: nothing of Python's runs between the signal and the third input.
    return map(ctypes.CDLL(None)["raise"], [0, 0, signal.SIGINT, 0])


def is_interrupted():
    # Looks for signals itself, so that the third input never comes.
    return map(signal.raise_signal, [0, 0, signal.SIGINT, 0])


def swallows():
    yield 0
    while True:
        try:
            print("waiting", flush=True)
            time.sleep(3600)
        except KeyboardInterrupt:
            if returned.is_set():
                return
            returned.set()
            print("swallowed", flush=True)


async def one_then_await():
    yield 0
    await asyncio.Event().wait()


async def is_interrupted_meanwhile():
    yield 0
    yield 1
    # While the loop has the third input, and nobody else.
    asyncio.get_running_loop().call_soon(signal.raise_signal, signal.SIGINT)
    yield 2
    yield 3


async def raises_interrupt_async():
    yield 0
    raise KeyboardInterrupt


async def swallows_cancel():
    yield 0
    while True:
        try:
            print("waiting", flush=True)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            print("swallowed", flush=True)


async def holds_its_loop():
    yield 0
    print("waiting", flush=True)
    time.sleep(3600)


def raises_interrupt():
    yield 0
    raise KeyboardInterrupt


returned = asyncio.Event()


async def first_returns(x, then):
    if x == 0:
        asyncio.get_running_loop().call_later(0.1, returned.set)  # by then its row is on its way
        return x
    await returned.wait()
    await then()


async def long(x):
    if x == 20:  # no pipe holds as much
        print("far enough", flush=True)
    return "x" * 100_000


async def holds(x):
    async def hold():
        print("holding", flush=True)
        time.sleep(3600)

    return await first_returns(x, hold)


async def spins(x):
    async def spin():
        print("holding", flush=True)
        while True:
            pass

    return await first_returns(x, spin)


async def keeps_on(x):
    async def keep_on():
        print("staying", flush=True)
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                print("cleaning up", flush=True)

    return await first_returns(x, keep_on)


def needs_argument(x):
    yield x


listed = [1, 2, 3]
number = 3
"""

TIMEOUT = 60.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A run that ended."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return rows(self.out)


def rows(text: str) -> list[dict[str, Any]]:
    """The rows in `text`, by index; asserts that no index has two."""
    found: list[dict[str, Any]] = [json.loads(line) for line in text.splitlines()]
    found.sort(key=lambda row: row["index"])
    indices = [row["index"] for row in found]
    assert len(set(indices)) == len(indices), f"an input has two rows: {indices}"
    return found


class Cli:
    """`gilscope` as a process, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.write("functions.py", FUNCTIONS)

    def write(self, name: str, text: str | bytes) -> Path:
        path = self.folder / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def start(self, *args: str, **kwargs: Any) -> subprocess.Popen[bytes]:
        """Start it; the caller ends it."""
        pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
        command = [sys.executable, "-m", "gilscope", *args]
        return subprocess.Popen(command, cwd=self.folder, **(pipes | kwargs))

    def __call__(self, *args: str, stdin: bytes = b"") -> Finished:
        """Run it to its end."""
        with self.start(*args) as process:
            try:
                out, err = process.communicate(stdin, timeout=TIMEOUT)
            except BaseException:
                process.kill()
                raise
        return Finished(process.returncode, out.decode(), err.decode())

    def run(self, function: str, given: str, *args: str, stdin: bytes = b"") -> Finished:
        """`gilscope run` of a function of the folder's `functions.py`."""
        if given != "-" and not (self.folder / given).exists() and ":" not in given:
            given = f"functions.py:{given}"
        return self("run", f"functions.py:{function}", "--input", given, *args, stdin=stdin)


def refused(done: Finished, words: Sequence[str]) -> None:
    """Assert one clear line on stderr that has `words`, exit code 2 and no row."""
    assert done.code == 2, done
    assert done.out == ""
    line = done.err.removesuffix("\n")
    assert line.startswith("error: "), done.err
    assert "\n" not in line
    for word in words:
        assert word in line


@pytest.fixture
def cli(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    # No findings on a busy machine: those who want them set it themselves.
    monkeypatch.setenv("GILSCOPE_SLOW", "1000s")
    return Cli(tmp_path)
