"""How many processes end, and in which situations."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

# 40 of each kind, 200 in soak; GILSCOPE_EXITS chooses another number.
N = int(os.environ.get("GILSCOPE_EXITS") or (200 if os.environ.get("GILSCOPE_SOAK") else 40))


class Ends:
    """Ends programs; `share` divides the number of exits among the situations of one kind."""

    def __init__(self) -> None:
        self._exits = runpy.run_path(str(Path(__file__).with_name("exits.py")))

    def python(self, *what: str, program: str = "ours.py", share: int = 1) -> Any:
        """`programs/PROGRAM WHAT…`, which uses gilscope as an extension module."""
        path = str(self._exits["PROGRAMS"] / program)
        return self._exits["end"]([sys.executable, path, *what], -(-N // share))

    def embedded(self, embedded: Any, what: str, way: str, share: int = 1) -> Any:
        """`examples/embed`'s binary for these tests."""
        command = embedded.command("gilscope-embed-exit", what, way)
        return self._exits["end"](command, -(-N // share), embedded.env)


@pytest.fixture
def ends() -> Ends:
    return Ends()
