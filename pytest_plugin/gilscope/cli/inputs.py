"""Where inputs come from: a JSON-lines file, standard input, or a generator of the user's."""

from __future__ import annotations

import codecs
import inspect
import json
import os
import select
import stat
from collections.abc import Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

import click

from gilscope.cli.errors import Refused, describe, location, os_reason
from gilscope.cli.steps import pull_async
from gilscope.cli.targets import load

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gilscope.cli.interrupt import Interrupt


@dataclass(frozen=True, slots=True)
class Unusable:
    """An input that cannot be handed to the function; it gets an error row."""

    type: str
    message: str


class InputFailed(Exception):
    """The source itself failed, so what would have come after is unknown."""


class Source(Protocol):
    """Where inputs come from."""

    total: int | None
    """How many inputs there are, where that can be known beforehand."""

    def read(self, interrupt: Interrupt) -> Iterator[object]:
        """Yield each input, or `Unusable`; end early when `interrupt` asks to stop."""


def open_source(target: str) -> Source:
    """Open what `--input` names; raises `Refused` when it cannot be read."""
    if target == "-":
        if os.isatty(0):
            click.echo("reading inputs here: one line of JSON each, Ctrl-D ends them", err=True)
        return Lines(0, "standard input")
    if ":" in target and not os.path.exists(target):
        return _generator(target)
    if target.endswith(".py"):
        raise Refused(f"--input {target} is code, and no lines of JSON", f"write {target}:NAME")
    try:
        fd = os.open(target, os.O_RDONLY | os.O_CLOEXEC)
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            raise IsADirectoryError(0, "it is a folder")
    except OSError as error:
        raise Refused(f"cannot read --input {target}: {os_reason(error)}") from None
    return Lines(fd, target)


class Lines:
    """JSON lines from a descriptor. Input `i` is line `i + 1`, also where lines are no JSON."""

    def __init__(self, fd: int, name: str) -> None:
        self._fd = fd
        self._name = name
        self.total: int | None
        try:
            self._waits = not stat.S_ISREG(os.fstat(fd).st_mode)
            self.total = None if self._waits else _count_lines(fd)
        except OSError as error:
            raise Refused(f"cannot read --input {name}: {os_reason(error)}") from None

    def read(self, interrupt: Interrupt) -> Iterator[object]:
        """Yield the value of each line."""
        for number, line in enumerate(self._lines(interrupt)):
            yield parse(line.removeprefix(codecs.BOM_UTF8) if number == 0 else line)

    def _lines(self, interrupt: Interrupt) -> Iterator[bytes]:
        parts: list[bytes] = []  # of a line whose end has not been read
        for chunk in self._chunks(interrupt):
            *whole, rest = chunk.split(b"\n")
            for line in whole:
                yield b"".join((*parts, line))
                parts.clear()
            parts.append(rest)
        last = b"".join(parts)
        if last and not interrupt.requested:
            yield last

    def _chunks(self, interrupt: Interrupt) -> Iterator[bytes]:
        while not interrupt.requested:
            try:
                # The signal handler may come just before the wait begins, so that is bounded.
                if self._waits and not select.select([self._fd], [], [], 0.1)[0]:
                    continue
                chunk = os.read(self._fd, 1 << 16)
            except OSError as error:
                raise InputFailed(f"cannot read {self._name}: {os_reason(error)}") from None
            if not chunk:
                return
            yield chunk


class Generator:
    """A generator function, async generator function or iterable of the user's."""

    def __init__(self, target: str, found: object) -> None:
        self._target = target
        self._items = self._call(found) if callable(found) else found
        if not is_iterable(self._items):
            kind = type(self._items).__name__
            if inspect.iscoroutine(self._items):
                self._items.close()
            raise Refused(f"--input {target} gives no inputs: {kind} is not iterable")
        self.total = _length(self._items)

    def _call(self, found: object) -> object:
        assert callable(found)
        try:
            inspect.signature(found).bind()
        except ValueError:
            pass  # a builtin that does not say
        except TypeError as error:
            raise Refused(
                f"--input {self._target} cannot be called without arguments: {error}"
            ) from None
        return found()

    def read(self, interrupt: Interrupt) -> Iterator[object]:
        """Yield what the generator yields."""
        try:
            if hasattr(self._items, "__aiter__"):
                yield from pull_async(self._items.__aiter__(), interrupt, self._target)
            else:
                yield from interrupt.pull(iter(self._items))  # type: ignore[call-overload]
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # also what ends a process, or a task
            raise InputFailed(_failed(self._target, error)) from error


def _generator(target: str) -> Generator:
    found = load(target, "--input")
    try:
        return Generator(target, found)
    except (KeyboardInterrupt, Refused):
        raise
    except BaseException as error:
        raise Refused(_failed(target, error)) from error


def _failed(target: str, error: BaseException) -> str:
    return f"--input {target} failed: {describe(error)}{location(error.__traceback__)}"


def _length(items: object) -> int | None:
    try:
        return len(items) if isinstance(items, Sized) else None
    except Exception:
        return None  # for the progress bar alone


def is_iterable(items: object) -> bool:
    """Whether `for` or `async for` takes it."""
    return hasattr(items, "__iter__") or hasattr(items, "__aiter__")


def parse(line: bytes) -> object:
    """The value of one JSON line, or `Unusable`."""
    try:
        return json.loads(line.decode(), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        kind = "JSONDecodeError" if isinstance(error, ValueError) else type(error).__name__
        reason = "it is empty" if not line.strip() else str(error)
        return Unusable(kind, f"this line is not JSON: {reason}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _count_lines(fd: int) -> int:
    count, last, at = 0, b"\n", 0
    while chunk := os.pread(fd, 1 << 20, at):
        at += len(chunk)
        count += chunk.count(b"\n")
        last = chunk[-1:]
    return count + (last != b"\n")
