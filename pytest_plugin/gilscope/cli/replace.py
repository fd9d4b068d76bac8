"""What a run may replace: a file that is empty or of its own kind, and no other."""

from __future__ import annotations

import os
import re
import stat

from gilscope._units import counted
from gilscope.cli.errors import Refused, os_reason

# So much of a file's begin tells what it is.
_HEAD = 4096
# As the sinks begin a file: a record, or the name of the process.
_TRACE = re.compile(
    rb'\{"span":"[a-z.]+","call":(?:null|"[0-9a-f]{16}"),"id":"'
    rb'|\{"finding":"GS\d+","name":"'
    rb'|\{"displayTimeUnit":"ns","traceEvents":\[\n\{"args":\{"name":"[^\n]*"name":"process_name"'
)
_ROWS = re.compile(rb'\{"index":\d+,"ok":(?:true,"result":|false,"error":\{"type":")')
_OURS = {"--trace": (_TRACE, "is no trace of gilscope"), "--out": (_ROWS, "no gilscope run wrote")}


def check_replaceable(option: str, path: str | None) -> None:
    """Refuse a file of `--trace` or `--out` in which something else is that would be lost."""
    head = None if path is None else _head(option, path)
    if not head:
        return
    ours, not_ours = _OURS[option]
    if not ours.match(head):
        assert path is not None
        raise Refused(
            f"{option} would replace {path}, which {not_ours}: it is {_kind(head, path)}",
            "name another file, or remove that one first",
        )


def is_replaceable(option: str, path: str) -> bool:
    """Whether `option` may name `path`."""
    try:
        check_replaceable(option, path)
    except Refused:
        return False
    return True


def _head(option: str, path: str) -> bytes | None:
    """How a file begins; None where there is none, or one that keeps nothing: a device, a pipe."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return None
    except OSError:
        return None  # there is none, or it cannot be written either
    try:
        with open(path, "rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise Refused(
            f"cannot tell whether {option} may replace {path}: {os_reason(error)}",
            "name another file",
        ) from None


def _kind(head: bytes, path: str) -> str:
    """What a file is, in a few words. None of its content is said: that may be a secret."""
    if _TRACE.match(head):
        return "a trace"
    if _ROWS.match(head):
        return "rows of gilscope run"
    size = counted(os.path.getsize(path), "byte")
    if b"\0" in head or head.startswith(b"\x1f\x8b"):
        return f"a binary file of {size}"
    return f"{'JSON' if head.lstrip()[:1] in (b'{', b'[') else 'text'} of {size}"
