"""What is wrong with the command is said in one line, before any call: exit code 2."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .conftest import refused

if TYPE_CHECKING:
    from .conftest import Cli

MARK = "import pathlib; pathlib.Path('called').touch()\n"


ODD = """
def __getattr__(name):
    raise KeyError(name)

class Lazy:
    def __getattr__(self, name):
        raise KeyError(name)

class Unsized:
    def __iter__(self):
        return iter([1, 2])

    def __len__(self):
        raise ValueError("it does not know")

class Callable:
    @property
    def __signature__(self):
        raise ValueError("it has none")

    async def __call__(self, x):
        return x

lazy, unsized, called = Lazy(), Unsized(), Callable()

def exits():
    yield 1
    raise SystemExit(7)

async def exits_async():
    yield 1
    raise SystemExit(7)

async def ends_async():
    yield 1
    import asyncio
    raise asyncio.CancelledError
"""


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
        ("ends.py:f", ["ends.py, line 2", "CancelledError"]),
        ("ends:f", ["ends.py, line 2", "CancelledError"]),
        ("functions.py", ["MODULE_OR_FILE:NAME", "write functions.py:NAME"]),
        ("functions.py:f:g", ["MODULE_OR_FILE:NAME"]),
        (".functions:f", ["MODULE_OR_FILE:NAME"]),
        ("odd.py:anything", ["cannot get 'anything' of odd.py: KeyError", "odd.py, line 3"]),
    ],
)
def test_function(cli: Cli, function: str, words: list[str]) -> None:
    cli.write("ends.py", "import asyncio\nraise asyncio.CancelledError\n")
    cli.write("odd.py", ODD)
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
        ("functions.py", ["functions.py is code", "write functions.py:NAME"]),
        ("odd.py:lazy", ["odd.py:lazy failed: KeyError", "odd.py, line 7"]),
        ("sys:exit", ["sys:exit failed: SystemExit"]),
    ],
)
def test_input(cli: Cli, given: str, words: list[str]) -> None:
    cli.write("odd.py", ODD)
    refused(cli("run", "functions.py:double", "--input", given), words)


@pytest.mark.parametrize("given", ["exits", "exits_async", "ends_async"])
def test_a_generator_that_would_end_the_process_ends_itself_alone(cli: Cli, given: str) -> None:
    cli.write("odd.py", ODD)
    done = cli("run", "functions.py:echo", "--input", f"odd.py:{given}", "--trace", "t.jsonl")
    assert done.code == 1, done
    assert len(done.rows) == 1
    assert re.match(rf"error: --input odd.py:{given} failed: (SystemExit: 7|Canc\w+) \(", done.err)
    assert done.err.splitlines()[-1].startswith("next: ")
    assert "Task exception" not in done.err


def test_what_an_object_does_not_say_is_not_needed(cli: Cli) -> None:
    cli.write("odd.py", ODD)
    done = cli("run", "odd.py:called", "--input", "odd.py:unsized")
    assert (done.code, [row["result"] for row in done.rows]) == (0, [1, 2]), done.err


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


@pytest.mark.parametrize("command", ["run --help", "view t.jsonl", "--help"])
def test_standard_output_that_takes_nothing(cli: Cli, command: str) -> None:
    assert cli.run("echo", "ten", "--trace", "t.jsonl").code == 0
    with open("/dev/full", "w") as full:
        process = cli.start(*command.split(), stdout=full)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (
        1,
        b"error: cannot write the output: No space left on device\n",
    )


def test_a_closed_standard_error_is_taken_by_no_file(cli: Cli) -> None:
    command = "run functions.py:loud --input functions.py:ten --out rows --trace t.jsonl"
    done = subprocess.run(
        f"{sys.executable} -m gilscope {command} 2>&- >&-", shell=True, cwd=cli.folder, timeout=60
    )
    assert done.returncode == 0
    written = (cli.folder / "rows").read_text() + (cli.folder / "t.jsonl").read_text()
    assert all(json.loads(line) for line in written.splitlines())


def test_a_folder_that_is_gone(cli: Cli) -> None:
    (cli.folder / "gone").mkdir()
    command = f"{sys.executable} -m gilscope run functions:echo --input functions:ten"
    done = subprocess.run(
        f"cd gone && rmdir ../gone && {command}",
        shell=True,
        cwd=cli.folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith("error: the current folder cannot be used: ")
