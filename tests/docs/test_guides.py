"""What the pages for users show is run: Python here, Rust as doc-tests and in tests/ext."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faulty import Faulty

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
GUIDES = ["docs/context.md", "docs/host-table.md", "docs/shutdown.md"]
# A program, and right after it what it prints.
PROGRAM = re.compile(r"```python\n(.*?)```\n\n```text\n(.*?)```", re.DOTALL)


def programs() -> list[pytest.param]:
    return [
        pytest.param(code, printed, id=f"{Path(guide).stem}-{number}")
        for guide in GUIDES
        for number, (code, printed) in enumerate(PROGRAM.findall((ROOT / guide).read_text()))
    ]


@pytest.fixture
def collector() -> Iterator[Faulty]:
    """What takes spans, for programs that export some."""
    running = Faulty("http/protobuf")
    yield running
    running.close()


@pytest.mark.parametrize(("code", "printed"), programs())
def test_a_program_prints_what_the_page_says(
    code: str, printed: str, ext_dir: Path, tmp_path: Path, collector: Faulty
) -> None:
    [built] = ext_dir.glob("gilscope_test_ext*.so")
    # A file of its own is a library of its own, with its own statics.
    shutil.copy(built, tmp_path / "shop.so")
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (printed, "")
    assert bool(collector.requests) == ("gilscope.instrument(" in code)


def test_the_page_about_context_shows_each_way_to_say_something() -> None:
    shown = "\n".join(code for code, _ in PROGRAM.findall((ROOT / "docs/context.md").read_text()))
    for said in ("TraceFilter(", ".set_attribute(", ".add_event(", "options(parent="):
        assert said in shown, said


@pytest.mark.parametrize("guide", GUIDES)
def test_no_program_of_a_page_is_left_out(guide: str) -> None:
    text = (ROOT / guide).read_text()
    assert text.count("```python\n") == len(PROGRAM.findall(text)) > 0


@pytest.mark.parametrize("guide", GUIDES)
def test_a_page_is_linked(guide: str) -> None:
    for page in ("README.md", "ARCHITECTURE.md"):
        assert f"]({guide})" in (ROOT / page).read_text()


@pytest.mark.parametrize("guide", GUIDES)
def test_the_rust_of_a_page_is_compiled(guide: str) -> None:
    blocks = re.findall(r"```(rust\S*)\n", (ROOT / guide).read_text())
    assert set(blocks) == {"rust,no_run"}
    assert f'include_str!("../../{guide}")' in (ROOT / "runtime" / "src" / "lib.rs").read_text()


def test_the_module_of_the_page_is_the_one_that_runs() -> None:
    page = (ROOT / "docs" / "host-table.md").read_text()
    [shown] = re.findall(r"```rust,no_run\n(.*?)```", page, re.DOTALL)
    source = (ROOT / "tests" / "ext" / "src" / "shop.rs").read_text()
    assert source.partition("\n\n")[2] == shown


def test_the_versions_of_the_page_are_the_ones_of_the_workspace() -> None:
    page = (ROOT / "docs" / "host-table.md").read_text()
    [shown] = re.findall(r'^pyo3 = \{ version = "([^"]+)"', page, re.MULTILINE)
    assert f'\npyo3 = "{shown}"\n' in (ROOT / "Cargo.toml").read_text()


def test_the_page_about_context_begins_with_how_to_install_it() -> None:
    page = (ROOT / "docs" / "context.md").read_text()
    before, program, _ = page.partition("```python\n")
    assert program
    [installs] = re.findall(r"```console\n(.*?)```", before, re.DOTALL)
    own, others = re.findall(r"^\$ pip install (\S+)", installs, re.MULTILINE)
    assert f"pip install {own}\n" in (ROOT / "README.md").read_text()
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["dependency-groups"]
    assert others in {requirement.partition(">")[0] for requirement in groups["service"]}
