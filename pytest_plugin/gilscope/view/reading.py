"""A trace file, of whichever format, read into the model."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO

from gilscope.view.chrome import read_chrome
from gilscope.view.errors import BadTrace
from gilscope.view.findings import name_threads
from gilscope.view.jsonl import read_lines
from gilscope.view.model import put_together
from gilscope.view.unended import find_open

if TYPE_CHECKING:
    from gilscope.view.model import Trace

# Enough to tell the formats apart.
_HEAD = 4096
_MAKE_ONE = "gilscope run … --trace FILE.jsonl writes one"


def read(path: str) -> Trace:
    """Read the trace at `path`; raises `BadTrace` for what is none."""
    try:
        with open(path, "rb", buffering=1 << 20) as file:
            trace = _read(path, file)
    except IsADirectoryError:
        raise BadTrace(f"cannot read {path}: it is a folder") from None
    except FileNotFoundError:
        raise BadTrace(f"cannot read {path}: no such file", _MAKE_ONE) from None
    except OSError as error:
        raise BadTrace(f"cannot read {path}: {error.strerror or os.strerror(5)}") from None
    except ValueError:  # a path with a zero byte
        raise BadTrace(f"cannot read {path!r}: that is no file name") from None
    if not trace.spans and not trace.findings and not trace.cut:
        raise BadTrace(f"{path} has no spans: nothing was recorded", _why_empty())
    find_open(trace)
    name_threads(trace)
    return put_together(trace)


def _read(path: str, file: BinaryIO) -> Trace:
    head = file.peek(_HEAD)[:_HEAD]  # type: ignore[attr-defined]
    if not head.strip():
        raise BadTrace(f"{path} is empty: nothing was recorded, or the run has not ended")
    if b"\0" in head or head[:2] == b"\x1f\x8b":
        raise BadTrace(f"{path} is no trace of gilscope: it is a binary file", _MAKE_ONE)
    first = head.strip().splitlines()[0]
    chrome = b'"traceEvents"' in head and not first.startswith((b'{"span"', b'{"finding"'))
    if chrome or first.startswith(b"["):
        return read_chrome(path, file)
    return read_lines(path, file)


def _why_empty() -> str:
    off = os.environ.get("GILSCOPE_DETAIL") == "off"
    return "GILSCOPE_DETAIL=off is set" if off else "was GILSCOPE_DETAIL=off set when it ran?"
