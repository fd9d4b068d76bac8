"""A run replaces what a run wrote, and no other file; it says so before anything runs."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import gilscope

from .conftest import TIMEOUT, refused, rows

if TYPE_CHECKING:
    from .conftest import Cli

MARKS = """
import pathlib

pathlib.Path("loaded").touch()

async def fun(x):
    return x
"""
# What people have, and would name by mistake.
OTHERS = {
    "app.py": (b"import asyncio\n", "text of 15 bytes"),
    "data.jsonl": (b'{"index":"a","ok":true}\n', "JSON of 24 bytes"),
    "spans.jsonl": (b'{"span":"call","of":"another tool"}\n', "JSON of 36 bytes"),
    "chrome.json": (b'{"traceEvents":[\n{"ph":"M"}]}', "JSON of 29 bytes"),
    "archive": (gzip.compress(b"x", mtime=0), "a binary file of "),
    "blank": (b"\n", "text of 1 byte"),
}


@pytest.mark.parametrize("option", ["--out", "--trace"])
@pytest.mark.parametrize("name", OTHERS)
def test_a_file_that_no_run_wrote_is_kept(cli: Cli, option: str, name: str) -> None:
    content, kind = OTHERS[name]
    kept = cli.write(name, content)
    cli.write("marks.py", MARKS)
    done = cli("run", "marks.py:fun", "--input", "functions.py:ten", option, name)
    refused(done, [f"{option} would replace {name}, which ", kind, "name another file"])
    assert kept.read_bytes() == content
    assert not (cli.folder / "loaded").exists()


def test_a_run_without_input_has_no_rows_of_another(cli: Cli) -> None:
    cli.run("double", "ten", "--out", "rows")
    assert cli.run("double", "-", "--out", "rows").code == 0
    assert (cli.folder / "rows").read_bytes() == b""


def test_rows_are_no_trace_and_a_trace_is_no_rows(cli: Cli) -> None:
    cli.run("double", "ten", "--out", "rows", "--trace", "t.jsonl")
    kept = [(cli.folder / name).read_bytes() for name in ("rows", "t.jsonl")]
    done = cli.run("double", "ten", "--out", "t.jsonl")
    refused(done, ["--out would replace t.jsonl, which no gilscope run wrote: it is a trace"])
    done = cli.run("double", "ten", "--trace", "rows")
    refused(done, ["would replace rows, which is no trace of gilscope: it is rows of gilscope run"])
    assert [(cli.folder / name).read_bytes() for name in ("rows", "t.jsonl")] == kept


@pytest.mark.parametrize("trace", ["t.json", "t.jsonl"])
@pytest.mark.parametrize("function", ["double", "picky"])
def test_what_a_run_wrote_is_replaced_by_the_next_one(cli: Cli, trace: str, function: str) -> None:
    cli.write("empty", "")
    for given in ("agen", "ten"):
        done = cli.run(function, given, "--out", "rows", "--trace", trace)
        assert done.code in (0, 1), done.err
    assert len(rows((cli.folder / "rows").read_text())) == 10
    text = cli("view", trace).out
    assert text.startswith("10 calls in ")
    assert cli.run("double", "ten", "--out", "empty").code == 0


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
@pytest.mark.parametrize("what", ["a call", "a finding", "nothing"])
def test_whatever_a_trace_begins_with_it_is_one(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, name: str, what: str
) -> None:
    path = cli.folder / name
    with gilscope.trace(path), gilscope.PyRuntime() as rt:
        if what != "nothing":
            assert rt.call(json.dumps, 1) == "1"
    if what == "a finding" and name == "t.jsonl":
        finding = '{"finding":"GS05","name":"cancel_swallowed","call":null}\n'
        path.write_text(finding + path.read_text())
    done = cli.run("echo", "ten", "--trace", name)
    assert done.code == 0, done.err


def test_a_device_and_a_pipe_keep_nothing_that_could_be_lost(cli: Cli) -> None:
    done = cli.run("double", "ten", "--out", "/dev/null", "--trace", "/dev/null")
    assert done.code == 0, done.err
    done = cli.run("double", "ten", "--out", "/dev/stdout")
    assert (done.code, len(done.rows)) == (0, 10), done.err


def test_a_trace_goes_into_a_named_pipe_whole(cli: Cli) -> None:
    os.mkfifo(cli.folder / "t.jsonl")
    args = ("run", "functions.py:echo", "--input", "functions.py:ten", "--trace", "t.jsonl")
    with cli.start(*args) as process:
        # Whoever opens it without writing ends what its reader reads.
        spans = (cli.folder / "t.jsonl").read_text().splitlines()
        process.communicate(timeout=TIMEOUT)
    assert process.returncode == 0
    assert sum(json.loads(span)["span"] == "call" for span in spans) == 10


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("--input - --trace in.jsonl < in.jsonl", "standard input and --trace"),
        ("--input - --out in.jsonl < in.jsonl", "standard input and --out"),
        ("--input in.jsonl --out linked", "--input and --out are the same file: in.jsonl"),
        ("--input in.jsonl --trace symbolic", "--input and --trace are the same file: in.jsonl"),
        ("--input in.jsonl --trace t.jsonl > t.jsonl", "standard output and --trace"),
        ("--input in.jsonl --trace t.jsonl --out ./t.jsonl", "--out and --trace"),
        ("--input in.jsonl >> in.jsonl", "--input and standard output"),
    ],
)
def test_a_file_is_read_or_written_but_not_both(cli: Cli, shell: str, words: str) -> None:
    # Rows, so that a run would replace them.
    kept = cli.write("in.jsonl", '{"index":0,"ok":true,"result":1,"ms":1.0}\n')
    os.link(kept, cli.folder / "linked")
    (cli.folder / "symbolic").symlink_to("in.jsonl")
    before = kept.read_bytes()
    done = subprocess.run(
        f"{sys.executable} -m gilscope run functions.py:echo {shell}",
        shell=True,
        cwd=cli.folder,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert words in done.stderr
    assert kept.read_bytes() == before


MOVES = """
import os

os.mkdir("elsewhere")
os.chdir("elsewhere")
with open("out.jsonl", "w") as file:
    file.write("of somebody else")

async def fun(x):
    return x

def inputs():
    return [1, 2]
"""


def test_names_mean_what_they_meant_when_they_were_checked(cli: Cli) -> None:
    cli.write("moves.py", MOVES)
    args = ("--out", "out.jsonl", "--trace", "t.jsonl")
    done = cli("run", "moves.py:fun", "--input", "moves:inputs", *args)
    assert done.code == 0, done.err
    assert len(rows((cli.folder / "out.jsonl").read_text())) == 2
    assert (cli.folder / "t.jsonl").exists()
    assert (cli.folder / "elsewhere" / "out.jsonl").read_text() == "of somebody else"


@pytest.mark.parametrize(
    "wrong", [("breaks_at_once",), ("ten", "--otlp=nonsense")], ids=["input", "otlp"]
)
def test_a_run_that_is_refused_late_has_its_old_rows(cli: Cli, wrong: tuple[str, ...]) -> None:
    cli.run("double", "ten", "--out", "rows")
    before = (cli.folder / "rows").read_text()
    done = cli.run("double", *wrong, "--out", "rows")
    refused(done, [])
    assert (cli.folder / "rows").read_text() == before


def test_a_file_that_cannot_be_looked_at_is_kept(cli: Cli) -> None:
    # A regular file that even root may write to and not read, at its begin.
    done = cli.run("double", "ten", "--out", "/proc/self/mem")
    refused(done, ["cannot tell whether --out may replace /proc/self/mem: Input/output error"])
