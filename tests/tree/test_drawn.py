"""What `gilscope tree` draws of a running process, in full."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tree.conftest import Asked, Program

    Start = Callable[..., Program]
    Ask = Callable[..., Asked]

APP = """
async def nap():
    await gilscope.rust.sleep(3600)

async def fetch():
    await nap()

async def child():
    await asyncio.Event().wait()

async def handler():
    await asyncio.gather(child(), fetch(), child())
"""


def drawn(asked: Asked) -> str:
    assert (asked.code, asked.err.count("\n")) == (0, 1), asked
    assert asked.err.startswith("next: gilscope tree ")
    return asked.text


def expected(text: str) -> str:
    return textwrap.dedent(text).lstrip("\n")


def test_calls_their_coroutines_their_tasks_and_what_they_await(start: Start, tree: Ask) -> None:
    program = start(
        APP
        + """
runtime = gilscope.PyRuntime("app")
futures = [runtime.submit(handler), runtime.submit(fetch), runtime.submit(gilscope.rust.sleep, 900)]
ready(6)
sys.stdin.read()
"""
    )
    assert drawn(tree(program.pid)) == expected("""
        process N python app.py
        └── loop gilscope-app  thread N, waiting for T
            ├── call __main__.handler  suspended T, 1 poll, T old
            │   ├── python  app.py:23 in handler
            │   ├── task child × 2, the oldest  suspended T, 1 poll, T old
            │   │   └── python  app.py:20 in child
            │   │       └── python  asyncio/locks.py:N in wait
            │   └── task fetch  suspended T, 1 poll, T old
            │       └── python  app.py:17 in fetch
            │           └── python  app.py:14 in nap
            │               └── rust    gilscope.rust.sleep
            ├── call __main__.fetch  suspended T, 1 poll, T old
            │   └── python  app.py:17 in fetch
            │       └── python  app.py:14 in nap
            │           └── rust    gilscope.rust.sleep
            └── call gilscope._native.rust_sleep  suspended T, 1 poll, T old
                └── rust    gilscope.rust.sleep
        """)
