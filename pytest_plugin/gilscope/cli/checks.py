"""What can be known to be wrong before the first call."""

from __future__ import annotations

import inspect
import math
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from gilscope.cli.errors import Refused, os_reason

if TYPE_CHECKING:
    from collections.abc import Mapping


def check_function(target: str, fun: object) -> None:
    """Refuse what cannot be called with one input."""
    if not callable(fun):
        raise Refused(f"{target} is not callable: it is of type {type(fun).__name__}")
    if inspect.isasyncgenfunction(fun):
        raise Refused(f"{target} is an async generator; it must give one result for one input")
    try:
        signature = inspect.signature(fun)
    except Exception:
        return  # a builtin that does not say, or an object that cannot: the calls will
    try:
        signature.bind(object())
    except TypeError as error:
        raise Refused(
            f"{target}{signature} cannot be called with one input: {error}",
            "the function gets each input as its one positional argument",
        ) from None


def check_deadline(deadline: float | None) -> None:
    """Refuse a deadline that is not a finite number of seconds above 0."""
    if deadline is not None and not (math.isfinite(deadline) and deadline > 0):
        raise Refused(f"--deadline must be a finite number of seconds above 0, not {deadline}")


def check_named(paths: dict[str, str | None]) -> None:
    """Refuse an empty name, which is what an unset variable of a shell leaves."""
    for option, path in paths.items():
        if path == "":
            raise Refused(f"{option} must name a file, not ''")


def check_different(given: Mapping[str, str | int | None]) -> None:
    """Refuse one regular file twice, by its path or as an open stream: one would destroy the other.

    By what each is called in an error line; a number is that of a descriptor.
    """
    seen: dict[tuple[int, int] | str, str] = {}
    for name, file in given.items():
        identity = None if file is None else _identity(file)
        if identity is None:
            continue
        if identity in seen:
            paths = [given[each] for each in (seen[identity], name)]
            path = next((f": {path}" for path in paths if isinstance(path, str)), "")
            raise Refused(f"{seen[identity]} and {name} are the same file{path}")
        seen[identity] = name


def _identity(file: str | int) -> tuple[int, int] | str | None:
    """What a path leads to; None for what is not a regular file, such as /dev/null."""
    try:
        info = os.stat(file)
    except OSError:
        return str(Path(file).resolve()) if isinstance(file, str) else None
    return (info.st_dev, info.st_ino) if stat.S_ISREG(info.st_mode) else None


def check_folder() -> None:
    """Refuse a folder that is gone: no name means anything in it."""
    try:
        os.getcwd()
    except OSError as error:
        raise Refused(f"the current folder cannot be used: {os_reason(error)}") from None


def open_output(option: str, path: str) -> int:
    """Open `path` for writing, with what is in it, and return the descriptor."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise Refused(f"cannot write {option} {path}: {os_reason(error)}") from None


def check_writable(option: str, path: str | None) -> None:
    """Refuse a path that cannot be written; leaves its content, and no new file, behind."""
    if path is None or _is_pipe(path):
        return
    existed = os.path.lexists(path)
    os.close(open_output(option, path))
    if not existed:
        os.unlink(path)


def _is_pipe(path: str) -> bool:
    """Whether opening it would wait for its reader, and closing it be taken for the end."""
    try:
        return stat.S_ISFIFO(os.stat(path).st_mode)
    except OSError:
        return False
