"""What a row, and the summary, say of an exception group: what is in it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .conftest import Cli

GROUPS = """
import asyncio

class Outer:
    class Inner(Exception):
        def __str__(self):
            raise RuntimeError("no text")

async def fails(error):
    raise error

async def in_a_task_group(x):
    async with asyncio.TaskGroup() as group:
        group.create_task(fails(ValueError(f"no {x}")))
        group.create_task(fails(Outer.Inner()))

async def nested(x):
    leaves = [KeyError(number) for number in range(10)]
    raise ExceptionGroup("outer", [ExceptionGroup("inner", leaves[:3]), *leaves])

async def deep(x):
    error = OSError("at the bottom")
    for _ in range(1000):
        error = BaseExceptionGroup("around", [error])
    raise error

async def alone(x):
    raise ValueError("no group")

async def some(x):
    await [in_a_task_group, nested, alone][x % 3](x)
"""


@pytest.fixture
def groups(cli: Cli) -> Cli:
    cli.write("groups.py", GROUPS)
    return cli


def test_a_group_has_the_exceptions_in_it(groups: Cli) -> None:
    done = groups("run", "groups.py:in_a_task_group", "--input", "-", stdin=b"7\n")
    assert done.code == 1, done.err
    (row,) = done.rows
    error = row["error"]
    assert error["type"] == "ExceptionGroup"
    assert error["message"] == "unhandled errors in a TaskGroup (2 sub-exceptions)"
    assert error["at"].endswith(" in in_a_task_group")
    first, second = error["inside"]
    assert (first["type"], first["message"]) == ("ValueError", "no 7")
    assert first["at"].endswith(" in fails")
    assert (second["type"], second["message"]) == ("Inner", "<its __str__ raised>")
    assert error["more"] == 0


def test_of_many_the_first_are_told_and_the_others_counted(groups: Cli) -> None:
    done = groups("run", "groups.py:nested", "--input", "-", stdin=b"7\n")
    (row,) = done.rows
    error = row["error"]
    found = [(each["type"], each["message"], each["at"]) for each in error["inside"]]
    # Never raised, so nowhere; each once, though three are in it twice.
    assert found == [("KeyError", str(number), None) for number in range(8)]
    assert error["more"] == 2


def test_a_deep_group_is_told_by_what_is_at_its_bottom(groups: Cli) -> None:
    done = groups("run", "groups.py:deep", "--input", "-", stdin=b"7\n")
    (row,) = done.rows
    assert row["error"]["type"] == "ExceptionGroup"
    assert [each["message"] for each in row["error"]["inside"]] == ["at the bottom"]
    assert re.findall(r"^ +([\d,]+)  (\S+)$", done.err, re.MULTILINE) == [("1", "OSError")]


def test_what_is_no_group_has_no_more_keys(groups: Cli) -> None:
    done = groups("run", "groups.py:alone", "--input", "-", stdin=b"7\n")
    assert [row["error"].keys() for row in done.rows] == [{"type", "message", "at"}]


def test_the_summary_counts_a_group_as_the_first_in_it(groups: Cli) -> None:
    done = groups("run", "groups.py:some", "--input", "functions.py:ten")
    assert done.code == 1
    listed = re.findall(r"^ +([\d,]+)  (\S+)$", done.err, re.MULTILINE)
    assert listed == [("7", "ValueError"), ("3", "KeyError")]


def test_its_help_says_so(cli: Cli) -> None:
    assert "`inside`" in cli("run", "--help").out
