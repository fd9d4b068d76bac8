"""Where the calls of `gilscope run` await, as its trace tells: in the user's code, not in ours."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import Cli

CODE = """
import asyncio


async def waits(x):
    await asyncio.sleep(0)
    return x


async def outer(x):
    return await waits(x)
"""


def test_where_a_call_of_a_run_awaits(cli: Cli) -> None:
    cli.write("app.py", CODE)
    done = cli("run", "app.py:outer", "--input", "-", "--trace", "t.jsonl", stdin=b"1\n2\n3\n")
    assert done.code == 0, done
    spans = [json.loads(line) for line in (cli.folder / "t.jsonl").read_text().splitlines()]
    found = [span["at"] for span in spans if span["span"] == "suspended"]
    assert found == [f"{cli.folder / 'app.py'}:6 in waits"] * 3
