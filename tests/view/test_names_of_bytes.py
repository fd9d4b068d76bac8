"""Names of files that are not UTF-8: of the source, of the trace, of what is made of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .conftest import gilscope

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
import asyncio

async def fun(x):
    await asyncio.sleep(0.001)
    if x == 2:
        raise ValueError(__file__)
"""
BYTES = os.fsdecode(b"a\xff\xe9")
SHOWN = "a\ufffd\ufffd"
PASTED = "$'a\\377\\351"  # to be closed after what follows
# Of a stream that takes no half of a character, and of one that takes no character but ASCII.
STREAMS = {"utf-8": "utf-8:strict", "ascii": "ascii:strict"}


def asked(*args: str, folder: Path, stream: str = "utf-8:strict") -> tuple[int, str, str]:
    done = gilscope(*args, cwd=folder, PYTHONIOENCODING=stream, TERM="dumb")
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where there are traces of a real run, in both formats."""
    made = tmp_path_factory.mktemp("bytes")
    (made / f"{BYTES}.py").write_text(SOURCE)
    (made / "in").write_text("1\n2\n")
    for suffix in ("json", "jsonl"):
        trace = f"{BYTES}.{suffix}"
        given = [f"{BYTES}.py:fun", "--input", "in", "--out", BYTES, "--trace", trace]
        code, _, err = asked("run", *given, folder=made)
        assert code == 1
        assert f"trace: {SHOWN}.{suffix} (gilscope view {PASTED}.{suffix}')\n" in err
        assert f"\n{SHOWN}.fun " in err
    return made


def test_a_row_says_where_an_error_arose(folder: Path) -> None:
    rows = [json.loads(line) for line in (folder / BYTES).read_text().splitlines()]
    [error] = [row for row in rows if not row["ok"]]
    assert error["error"]["message"].endswith(f"/{SHOWN}.py")
    assert error["error"]["at"].endswith(f"/{SHOWN}.py:7 in fun")


@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_the_text_names_the_places(folder: Path, suffix: str) -> None:
    code, out, err = asked("view", f"{BYTES}.{suffix}", folder=folder)
    assert (code, err) == (0, "")
    assert f"at {SHOWN}.py:5 in fun, woken" in out
    assert f"ValueError: {folder}/{SHOWN}.py\n" in out
    shows_all = "--html  # each in full: its filter takes a status, error"
    assert out.endswith(f"next: gilscope view {PASTED}.{suffix}' {shows_all}\n")


@pytest.mark.parametrize("stream", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("suffix", ["json", "jsonl"])
def test_what_is_written_beside_the_trace_is_readable(
    folder: Path, suffix: str, stream: str
) -> None:
    trace = f"{BYTES}.{suffix}"
    assert asked("view", trace, folder=folder, stream=stream)[0] == 0
    code, out, err = asked("view", trace, "--html", folder=folder, stream=stream)
    assert (code, out, err) == (0, f"page: {SHOWN}.html\nnext: xdg-open {PASTED}.html'\n", "")
    page = (folder / f"{BYTES}.html").read_bytes().decode()
    assert f"<title>{SHOWN}.{suffix} – gilscope</title>" in page
    made = f"--perfetto={BYTES}.out"
    code, out, err = asked("view", trace, made, folder=folder, stream=stream)
    assert (code, out.partition("\n")[0], err) == (0, f"trace: {SHOWN}.out", "")
    raw = (folder / f"{BYTES}.out").read_bytes().decode()
    assert "\\ud" not in raw
    names = {
        event["args"].get("name") for event in json.loads(raw)["traceEvents"] if "args" in event
    }
    assert f"gilscope a??.{suffix}" in names


def test_one_that_is_not_there_is_one_line(folder: Path) -> None:
    code, out, err = asked("view", f"none{BYTES}", folder=folder)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: cannot read none{SHOWN}: no such file")


def test_a_trace_can_be_opened_in_python(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import asyncio, os, gilscope\n"
        "with gilscope.trace(os.fsdecode(b'\\xff.jsonl')), gilscope.PyRuntime() as rt:\n"
        "    rt.call(asyncio.sleep, 0)\n"
    )
    subprocess.run([sys.executable, "app.py"], cwd=tmp_path, check=True, timeout=60)
    lines = (tmp_path / os.fsdecode(b"\xff.jsonl")).read_text().splitlines()
    assert json.loads(lines[0])["span"]
