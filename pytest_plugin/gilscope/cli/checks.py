"""What can be known to be wrong before the first call."""

from __future__ import annotations

import inspect
import math
import os
import stat
from pathlib import Path

from gilscope.cli.errors import Refused, os_reason


def check_function(target: str, fun: object) -> None:
    """Refuse what cannot be called with one input."""
    if not callable(fun):
        raise Refused(f"{target} is not callable: it is of type {type(fun).__name__}")
    if inspect.isasyncgenfunction(fun):
        raise Refused(f"{target} is an async generator; it must give one result for one input")
    try:
        signature = inspect.signature(fun)
    except (TypeError, ValueError):
        return  # a builtin that does not say: the calls will
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


def check_different(paths: dict[str, str | None]) -> None:
    """Refuse one regular file under two options: writing one would destroy the other."""
    seen: dict[tuple[int, int] | str, str] = {}
    for option, path in paths.items():
        if path is None:
            continue
        identity = _identity(path)
        if identity is None:
            continue
        if identity in seen:
            raise Refused(f"{seen[identity]} and {option} are the same file: {path}")
        seen[identity] = option


def _identity(path: str) -> tuple[int, int] | str | None:
    """What a path leads to; None for what is not a regular file, such as /dev/null."""
    try:
        info = os.stat(path)
    except OSError:
        return str(Path(path).resolve())
    return (info.st_dev, info.st_ino) if stat.S_ISREG(info.st_mode) else None


def open_output(option: str, path: str, *, truncate: bool) -> int:
    """Open `path` for writing and return the descriptor."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if truncate else 0)
    try:
        return os.open(path, flags, 0o666)
    except OSError as error:
        raise Refused(f"cannot write {option} {path}: {os_reason(error)}") from None


def check_writable(option: str, path: str | None) -> None:
    """Refuse a path that cannot be written; leaves its content, and no new file, behind."""
    if path is None:
        return
    existed = os.path.lexists(path)
    os.close(open_output(option, path, truncate=False))
    if not existed:
        os.unlink(path)
