"""The last line of a run is a command that works as it is pasted, with what the user gave."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from gilscope._shell import pasted

from .conftest import TIMEOUT, Finished

if TYPE_CHECKING:
    from .conftest import Cli


def last(done: Finished) -> str:
    """The command of the last line."""
    line = done.err.splitlines()[-1]
    assert line.startswith("next: "), done.err
    return line.removeprefix("next: ")


def paste(cli: Cli, command: str) -> Finished:
    """Run it as a user does who has `gilscope` on the path."""
    script = f'gilscope() {{ {shlex.quote(sys.executable)} -m gilscope "$@"; }}\n{command}\n'
    done = subprocess.run(
        ["bash", "-c", script], cwd=cli.folder, capture_output=True, text=True, timeout=TIMEOUT
    )
    return Finished(done.returncode, done.stdout, done.stderr)


def test_it_keeps_what_was_given_and_ends_at_the_trace(cli: Cli) -> None:
    options = ("--concurrency", "3", "--deadline", "30", "--out", "my rows")
    done = cli.run("double", "ten", *options)
    command = last(done)
    assert command == (
        "gilscope run functions.py:double --input functions.py:ten --concurrency 3"
        " --deadline 30.0 --out 'my rows' --trace trace.jsonl"
    )
    again = paste(cli, command)
    assert again.code == 0, again
    assert "at most 3 at once" in again.err
    assert last(again) == "gilscope view trace.jsonl"
    assert paste(cli, last(again)).out.startswith("10 calls in ")


@pytest.mark.parametrize("otlp", ["--otlp", "--otlp=http://127.0.0.1:9/a?b=c&d"])
def test_it_keeps_where_to_export_to(cli: Cli, monkeypatch: pytest.MonkeyPatch, otlp: str) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    words = shlex.split(last(cli.run("double", "ten", otlp)))
    assert words[-3:] == [otlp, "--trace", "trace.jsonl"]


@pytest.mark.parametrize(
    "name", ["-t.jsonl", "a b.jsonl", "it's.jsonl", "two\nlines\\.jsonl", b"\xff'.json", "$x.json"]
)
def test_a_name_of_any_kind_is_one_word(cli: Cli, name: str | bytes) -> None:
    given = name if isinstance(name, str) else name.decode(errors="surrogateescape")
    done = cli.run("double", "ten", f"--trace={given}")
    assert done.code == 0, done
    assert paste(cli, last(done)).out.startswith("10 calls in ")
    assert "\n" not in pasted(given)


def test_standard_input_is_given_again_where_it_is_a_file(cli: Cli) -> None:
    cli.write("in.jsonl", "1\n2\n")
    done = paste(cli, "gilscope run functions.py:double --input - < in.jsonl")
    assert last(done).endswith(f"--input - --trace trace.jsonl < {cli.folder / 'in.jsonl'}")
    assert [row["result"] for row in paste(cli, last(done)).rows] == [2, 4]


def test_the_name_that_it_proposes_costs_nobody_a_file(cli: Cli) -> None:
    cli.write("trace.jsonl", "mine\n")
    cli.write("trace2.jsonl", "1\n2\n")
    done = cli("run", "functions.py:double", "--input", "trace2.jsonl", "--out", "trace3.jsonl")
    assert last(done).endswith("--trace trace4.jsonl")
    assert paste(cli, last(done)).code == 0
    assert (cli.folder / "trace.jsonl").read_text() == "mine\n"


def test_failed_rows_are_shown_where_they_are(cli: Cli) -> None:
    done = cli.run("picky", "ten", "--out", "my rows", "--trace", "t.jsonl")
    found = paste(cli, last(done)).out.splitlines()
    assert [json.loads(line)["ok"] for line in found] == [False] * 5


@pytest.mark.parametrize("out", ["/dev/stdout", "/dev/null"])
def test_no_file_is_named_that_was_not_written(cli: Cli, out: str) -> None:
    done = cli.run("picky", "ten", "--out", out, "--trace", "/dev/null")
    assert "\ntrace: /dev/null (no file that can be viewed)\n" in done.err
    assert last(done).endswith(f"--out {out} --trace trace.jsonl")


LIMITED = """
import resource

resource.setrlimit(resource.RLIMIT_FSIZE, ({size}, {size}))

async def echo(x):
    return x
"""


@pytest.mark.parametrize(
    ("trace", "size", "said"),
    [
        ("t.jsonl", 0, "nothing was written)\n"),
        ("t.json", 1000, "incomplete; gilscope view t.json)\n"),
    ],
)
def test_a_trace_that_could_not_be_written_is_asked_for_again(
    cli: Cli, trace: str, size: int, said: str
) -> None:
    cli.write("limited.py", LIMITED.format(size=size))
    done = cli("run", "limited.py:echo", "--input", "functions.py:ten", "--trace", trace)
    assert f"error: cannot write --trace {trace}: File too large\n" in done.err
    assert f"\ntrace: {trace} ({said}" in done.err
    command = f"gilscope run limited.py:echo --input functions.py:ten --trace {trace}"
    assert last(done) == command


def test_long_runs_are_told_of_the_format_that_takes_all(cli: Cli) -> None:
    for command in ([], ["run"]):
        text = cli(*command, "--help").out
        assert re.findall(r"trace\.json\w*", text)
        assert set(re.findall(r"trace\.json\w*", text)) == {"trace.jsonl"}
