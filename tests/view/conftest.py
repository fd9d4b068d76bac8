"""What the tests of `gilscope view` share: the command, and traces of real runs."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .browser import Browser

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

FUNCTIONS = """
import asyncio

import gilscope


async def fetch():
    await gilscope.rust.sleep(0.002)


async def child(x):
    await asyncio.sleep(0.001 * x)


async def order(x):
    await fetch()
    await asyncio.gather(child(1), child(2))
    if x % 5 == 3:
        raise ValueError(f"no {x}")
    return x


def inputs():
    return range(5)
"""

Done = subprocess.CompletedProcess[str]


def gilscope(*args: str, cwd: Path, **env: str) -> Done:
    """Run the command, with its output captured."""
    return subprocess.run(
        [sys.executable, "-m", "gilscope", *args],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="session")
def real(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Traces of five calls, one of which fails, by the name of the file."""
    folder = tmp_path_factory.mktemp("real")
    (folder / "shop.py").write_text(FUNCTIONS)

    def trace(name: str, **env: str) -> Path:
        path = folder / name
        if not path.exists():
            given = ["shop.py:order", "--input", "shop.py:inputs", "--out", "rows", "--trace", name]
            done = gilscope("run", *given, cwd=folder, **env)
            assert done.returncode == 1, done.stderr
            assert f"trace: {name} (gilscope view {name})" in done.stderr
        return path

    return trace


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def browser(opened: Browser) -> Browser:
    opened.said.clear()
    opened.requests.clear()
    opened.dark(False)
    return opened
