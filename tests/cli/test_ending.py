"""Ctrl-C when all is said: while exit handlers run, and while the interpreter ends."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from .conftest import TIMEOUT, rows
from .test_interrupt import ended, wait_for_rows
from .test_leave import wait_for_line

if TYPE_CHECKING:
    from .conftest import Cli

# Each waits for a line on stdin: one is an exit handler, one runs when modules are taken apart.
LINGERS = """
import atexit, os

async def echo(x):
    return x

def endless():
    i = 0
    while True:
        yield i
        i += 1

def linger(where, write=os.write, read=os.read):
    write(1, where)
    read(0, 1)

class Lingers:
    def __del__(self, linger=linger):
        linger(b"in the finalization\\n")

lingers = Lingers()
atexit.register(linger, b"in an exit handler\\n")
"""


@pytest.mark.parametrize("where", ["in an exit handler", "in the finalization"])
def test_a_ctrl_c_after_the_summary_ends_the_process_with_130(cli: Cli, where: str) -> None:
    cli.write("lingers.py", LINGERS)
    out = cli.folder / "out.jsonl"
    args = ("run", "lingers.py:echo", "--input", "lingers.py:endless", "--out", "out.jsonl")
    with ended(cli.start(*args)) as process:
        wait_for_rows(process, out, 1)
        process.send_signal(signal.SIGINT)
        wait_for_line(process, "stdout", "in an exit handler")
        assert process.stdin is not None
        if where == "in the finalization":
            process.stdin.write(b"\n")
            process.stdin.flush()
            wait_for_line(process, "stdout", where)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(b"\n", timeout=TIMEOUT)
    assert process.returncode == 130, err
    assert b"KeyboardInterrupt" not in err
    assert err.count(b"\nnext: ") == 1
    assert [row["index"] for row in rows(out.read_text())]
