"""Names that user code chose to break what shows them: as recorded, and in each picture."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from .browser import Browser
from .conftest import gilscope

if TYPE_CHECKING:
    from pathlib import Path

NASTY = (
    "q\"u'o\\te\n\r\t\x08\x1b[31m\x1b]0;t\x07\x7f\x9b\u2028\u2029"
    '</script><img src=x onerror="globalThis.ran=1"><!-- {{trace}} ]]>\U0001f600'
)
PROGRAM = """
import asyncio
import sys
import gilscope

nasty = sys.argv[1]


async def child():
    await asyncio.sleep(0.001)


async def fun():
    await asyncio.create_task(child())
    raise type(nasty, (Exception,), {})(nasty)


for each in (fun, child):
    each.__name__ = each.__qualname__ = nasty
    named = {"co_name": nasty, "co_qualname": nasty, "co_filename": nasty}
    each.__code__ = each.__code__.replace(**named)
with gilscope.trace("t.json"), gilscope.trace("t.jsonl"), gilscope.PyRuntime(nasty) as rt:
    for _ in range(3):
        try:
            rt.call(fun)
        except Exception as error:
            assert type(error).__name__ == nasty
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the traces of a real run are, in both formats."""
    made = tmp_path_factory.mktemp("nasty")
    command = [sys.executable, "-c", PROGRAM, NASTY]
    done = subprocess.run(command, cwd=made, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    return made


def texts(value: Any) -> set[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        return {value}
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
    return {text for each in inner for text in texts(each)}


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_what_is_recorded_is_json_and_has_the_names_as_they_are(folder: Path, name: str) -> None:
    raw = (folder / name).read_bytes()
    # Each event and each record on a line of its own, in which nothing is a control character.
    assert not {byte for byte in raw if byte < 0x20} - {ord("\n")}
    whole = raw if name == "t.json" else b"[" + b",".join(raw.splitlines()) + b"]"
    found = texts(json.loads(whole))
    assert f"__main__.{NASTY}" in found, "the function"
    assert NASTY in found, "the task, the exception's type and its message"
    assert f"gilscope-{NASTY}" in found, "the thread"
    assert any(text.startswith(NASTY) and text.endswith(f" in {NASTY}") for text in found)


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_what_is_converted_is_json_and_has_them_too(folder: Path, name: str) -> None:
    done = gilscope("view", name, f"--perfetto=of-{name}", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    found = texts(json.loads((folder / f"of-{name}").read_bytes()))
    assert {f"__main__.{NASTY}", f"gilscope-{NASTY}"} <= found


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_the_text_has_none_that_a_terminal_obeys(folder: Path, name: str) -> None:
    done = gilscope("view", name, cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert "onerror" in done.stdout
    assert {char for char in done.stdout if not char.isprintable()} == {"\n"}


@pytest.mark.parametrize("name", ["t.json", "t.jsonl"])
def test_on_the_page_they_are_text(folder: Path, name: str, tmp_path: Path) -> None:
    done = gilscope("view", name, f"--html={tmp_path}/t.html", cwd=folder)
    assert (done.returncode, done.stderr) == (0, "")
    with Browser(tmp_path / "profile") as browser:
        browser.open((tmp_path / "t.html").as_uri())
        browser.wait("document.querySelector('#drawn').innerText")
        browser.press("ArrowDown")
        for place in ("#panel h2", "#panel .error"):
            assert '</script><img src=x onerror="globalThis.ran=1">' in browser.text(place), place
        assert browser.run("document.querySelectorAll('img, [onerror]').length") == 0
        assert browser.run("document.scripts.length") == 3
        assert browser.run("globalThis.ran") is None
        assert browser.said == []
