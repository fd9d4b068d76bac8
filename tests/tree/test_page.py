"""The page for users: its program is run, and what it shows is what is drawn."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.tree.conftest import Asked, Program

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "tree.md").read_text()


def test_the_page_shows_what_is_drawn(
    start: Callable[..., Program],
    tree: Callable[..., Asked],
    without_numbers: Callable[[str], str],
) -> None:
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    shown = re.search(r"^process 4711 .*?^```", PAGE, re.DOTALL | re.MULTILINE)
    assert shown is not None
    begun = code.replace("for call in calls:", "print('ready', flush=True)\nfor call in calls:")
    program = start(begun, prelude="", file="service.py")
    expected = without_numbers(shown[0].removesuffix("```"))
    end = time.monotonic() + 60
    while (asked := tree(program.pid)).text != expected:
        assert time.monotonic() < end, asked
    assert asked.code == 0


def test_the_page_knows_what_a_loop_may_do() -> None:
    words = re.findall(r'=> Some\("(.+?)"\)', (ROOT / "instrument/src/doing.rs").read_text())
    assert len(words) == 3
    for word in words:
        assert f"`{word}`" in PAGE


def test_the_page_is_linked_and_its_links_lead_somewhere() -> None:
    for page in ("README.md", "ARCHITECTURE.md"):
        assert "](docs/tree.md)" in (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^):]+)\)", PAGE):
        assert (ROOT / "docs" / target).exists(), target


def test_the_page_lists_every_key_of_an_answer() -> None:
    code = (ROOT / "instrument/src/tree/answer.rs").read_text().partition("#[cfg(test)]")[0]
    keys = set(re.findall(r'^        "(\w+)":', code, re.MULTILINE))
    assert {"gilscope_tree", "doing", "queued", "chain"} <= keys
    assert not [key for key in keys if f"`{key}`" not in PAGE]
