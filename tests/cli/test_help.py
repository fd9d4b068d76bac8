"""What `--help` teaches works as it stands there."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .conftest import TIMEOUT

if TYPE_CHECKING:
    from .conftest import Cli


def test_what_to_start_with_works_as_it_stands_there(cli: Cli) -> None:
    text = cli("--help").out
    app, commands = re.findall(r"with an app\.py that has `(.+)`:\n(.*?)\n\n", text, re.DOTALL)[0]
    cli.write("app.py", f"{app}:\n    return x\n")
    steps = [line.strip().partition("   ")[0] for line in commands.splitlines()]
    assert [step.split()[:2] for step in steps[1:]] == [
        ["gilscope", "run"],
        ["gilscope", "view"],
        ["gilscope", "view"],
    ]
    script = f'gilscope() {{ {sys.executable} -m gilscope "$@"; }}\nset -e\n' + "\n".join(steps)
    done = subprocess.run(
        ["sh", "-c", script], cwd=cli.folder, capture_output=True, text=True, timeout=TIMEOUT
    )
    assert done.returncode == 0, done.stderr
    assert "part of a call" in done.stdout
    assert (cli.folder / "trace.html").exists()


@pytest.mark.parametrize("command", [[], ["run"], ["view"], ["tree"]], ids=" ".join)
def test_its_last_line_is_a_next_command(cli: Cli, command: list[str]) -> None:
    done = cli(*command, "--help")
    assert done.code == 0
    last = re.fullmatch(r" *next: gilscope (run|view|tree)( .+)?", done.out.splitlines()[-1])
    assert last is not None, done.out
    # What it says is a command, whose options are there.
    options = re.findall(r"--[a-z]+", last[2] or "")
    known = cli(last[1], "--help").out
    assert all(option in known for option in options)


def test_all_commands_are_in_the_first_help(cli: Cli) -> None:
    text = cli("--help").out
    commands = set(re.findall(r"^  (\w+)  ", text[text.index("Commands:") :], re.MULTILINE))
    assert commands == set(re.findall(r"^ +(?:\S+=1 )?gilscope (\w+) ", text, re.MULTILINE))
