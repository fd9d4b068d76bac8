"""`GILSCOPE_REDACT` keeps what exceptions say out of everything that is recorded."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "the-password-is-rosebud"

PROGRAM = """
import asyncio, json, sys
import gilscope

class Leaks(ValueError):
    pass

async def fails(secret):
    await asyncio.sleep(0)
    raise Leaks(secret)

async def child_fails(secret):
    await asyncio.gather(asyncio.create_task(fails(secret)))

secret, lines, chrome = sys.argv[1:]
rt = gilscope.PyRuntime("redacted")
with gilscope.trace(lines), gilscope.trace(chrome), gilscope.trace() as trace:
    for fun in (fails, child_fails):
        try:
            rt.call(fun, secret)
        except Leaks as error:
            assert str(error) == secret  # the caller has it whole
    rt.call(int)
    print(json.dumps([trace.spans, gilscope.stats(), rt.stats()], default=str))
rt.shutdown()
"""


def recorded(tmp_path: Path, **environment: str) -> list[str]:
    """The spans and statistics, and the two trace files, as text."""
    files = [tmp_path / "trace.jsonl", tmp_path / "trace.json"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, SECRET, *map(str, files)],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [done.stdout, *(file.read_text() for file in files)]


def test_messages_stay_out_of_spans_files_and_statistics(tmp_path: Path) -> None:
    for text in recorded(tmp_path, GILSCOPE_REDACT="1"):
        assert SECRET not in text
        assert "Leaks" in text


@pytest.mark.parametrize("value", ["", "0"])
def test_without_it_messages_are_recorded(tmp_path: Path, value: str) -> None:
    for text in recorded(tmp_path, GILSCOPE_REDACT=value):
        assert SECRET in text
        assert "Leaks" in text
