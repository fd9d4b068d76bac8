"""What is wrong with the command is said in one line, before any call: exit code 2."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .conftest import refused

if TYPE_CHECKING:
    from .conftest import Cli

MARK = "import pathlib; pathlib.Path('called').touch()\n"


@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("double", ["MODULE_OR_FILE:NAME", "'double'"]),
        ("nowhere:double", ["no module named 'nowhere'"]),
        ("functions.nowhere:double", ["no module named 'functions.nowhere'"]),
        ("nowhere.py:double", ["nowhere.py", "no such file"]),
        ("functions.py:nothing", ["no 'nothing' in functions.py", "double"]),
        ("functions.py:ecko", ["no 'ecko' in functions.py", "it has echo, ", ", …"]),
        ("functions.py:", ["MODULE_OR_FILE:NAME"]),
        ("functions.py:number", ["not callable", "int"]),
        ("functions.py:two", ["one input", "'b'"]),
        ("functions.py:endless", ["one input"]),
        ("functions.py:agen", ["async generator"]),
        ("raises.py:f", ["raises.py, line 2", "ZeroDivisionError"]),
        ("raises:f", ["raises.py, line 2", "ZeroDivisionError"]),
        ("imports.py:f", ["imports.py, line 1", "missing_module"]),
        ("imports:f", ["imports.py, line 1", "missing_module"]),
        ("broken.py:f", ["broken.py, line 3", "SyntaxError"]),
        ("exits.py:f", ["exits.py, line 2", "SystemExit"]),
    ],
)
def test_function(cli: Cli, function: str, words: list[str]) -> None:
    cli.write("raises.py", "x = 0\n1 / x\n")
    cli.write("imports.py", "import missing_module\n")
    cli.write("broken.py", "x = 1\n\ndef f(:\n")
    cli.write("exits.py", "import sys\nsys.exit(0)\n")
    refused(cli("run", function, "--input", "functions.py:ten"), words)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("nowhere.jsonl", ["nowhere.jsonl", "No such file"]),
        (".", ["it is a folder"]),
        ("functions.py:nothing", ["no 'nothing'"]),
        ("nowhere.py:ten", ["nowhere.py", "no such file"]),
        ("functions.py:number", ["int is not iterable"]),
        ("functions.py:needs_argument", ["without arguments"]),
        ("functions.py:breaks_at_once", ["the generator broke", "functions.py, line "]),
    ],
)
def test_input(cli: Cli, given: str, words: list[str]) -> None:
    refused(cli("run", "functions.py:double", "--input", given), words)


@pytest.mark.parametrize(
    "options",
    [
        ["--deadline", "0"],
        ["--deadline", "-1"],
        ["--deadline", "nan"],
        ["--deadline", "inf"],
        ["--deadline", "soon"],
        ["--concurrency", "0"],
        ["--concurrency", "many"],
        ["--out", "no/such/folder/out.jsonl"],
        ["--out", "."],
        ["--trace", "no/such/folder/trace.json"],
        ["--trace", "."],
        ["--out", "same", "--trace", "same"],
        ["--out", "in.jsonl"],
        ["--nonsense"],
    ],
    ids=" ".join,
)
def test_options(cli: Cli, options: list[str]) -> None:
    kept = cli.write("in.jsonl", "1\n2\n")
    cli.write("marks.py", f"async def f(x):\n    {MARK}")
    done = cli("run", "marks.py:f", "--input", "in.jsonl", *options)
    refused(done, [options[0]])
    assert not (cli.folder / "called").exists()
    assert kept.read_text() == "1\n2\n"


@pytest.mark.parametrize("option", ["--input", "--out", "--trace"])
def test_an_empty_name_is_refused(cli: Cli, option: str) -> None:
    given = {"--input": "functions.py:ten", option: ""}
    done = cli("run", "functions.py:double", *(word for pair in given.items() for word in pair))
    refused(done, [f"{option} must name", "not ''"])


def test_refused_run_leaves_output_and_trace_alone(cli: Cli) -> None:
    assert cli.run("double", "ten", "--out", "out.jsonl", "--trace", "trace.json").code == 0
    written = [cli.folder / "out.jsonl", cli.folder / "trace.json"]
    before = [path.read_bytes() for path in written]
    done = cli.run("double", "nowhere:x", "--out", "out.jsonl", "--trace", "trace.json")
    refused(done, ["nowhere"])
    assert [path.read_bytes() for path in written] == before


@pytest.mark.parametrize("args", [[], ["run"], ["nonsense"]], ids=str)
def test_incomplete_command(cli: Cli, args: list[str]) -> None:
    done = cli(*args)
    assert done.code == 2
    assert "gilscope run" in done.err or "nonsense" in done.err


def test_permissions(cli: Cli) -> None:
    # A file has no files in it, whoever asks; root may do everything else.
    refused(cli.run("double", "listed", "--out", "functions.py/x"), ["functions.py/x"])
    refused(cli.run("double", "listed", "--trace", "functions.py/x"), ["functions.py/x"])
    if os.geteuid() != 0:
        cli.write("closed", "1\n").chmod(0)
        refused(cli.run("double", "closed"), ["closed", "Permission"])
        refused(cli.run("double", "listed", "--out", "closed"), ["closed", "Permission"])


@pytest.mark.parametrize(
    ("given", "closed", "words"),
    [
        ("-", "<&-", ["cannot read --input standard input", "Bad file descriptor"]),
        ("functions.py:ten", ">&-", ["cannot write to standard output", "Bad file descriptor"]),
    ],
)
def test_closed_standard_streams(cli: Cli, given: str, closed: str, words: list[str]) -> None:
    command = f"{sys.executable} -m gilscope run functions.py:echo --input {given} {closed}"
    done = subprocess.run(
        command, shell=True, cwd=cli.folder, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert all(word in done.stderr for word in words)
