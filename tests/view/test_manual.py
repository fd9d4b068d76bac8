"""docs/view.md and `--help` say the same, and the picture is small and there."""

from __future__ import annotations

import re
from pathlib import Path

from .conftest import gilscope

ROOT = Path(__file__).parents[2]
MANUAL = (ROOT / "docs" / "view.md").read_text()


def test_the_page_of_the_manual_is_linked_and_its_links_lead_somewhere() -> None:
    for page in ("README.md", "ARCHITECTURE.md"):
        assert "](docs/view.md)" in (ROOT / page).read_text()
    for target in re.findall(r"\]\(([^):]+)\)", MANUAL):
        assert (ROOT / "docs" / target).exists(), target


def test_the_picture_is_a_small_png() -> None:
    png = (ROOT / "docs" / "images" / "view.png").read_bytes()
    assert png.startswith(b"\x89PNG")
    assert len(png) < 150_000
    assert "](docs/images/view.png)" in (ROOT / "README.md").read_text()


def test_every_option_is_in_the_manual_and_help_teaches(tmp_path: Path) -> None:
    said = gilscope("view", "--help", cwd=tmp_path).stdout
    options = set(re.findall(r"--[a-z]+", said)) - {"--help", "--trace"}
    assert options == {"--html", "--perfetto", "--slowest"}
    for option in options:
        assert f"`{option}" in MANUAL, option
    assert "gilscope view trace.jsonl --html" in said
    assert "wait: it awaited, at the place named" in said


def test_what_is_bundled_has_its_licence() -> None:
    vendor = ROOT / "pytest_plugin" / "gilscope" / "view" / "page" / "vendor"
    for script in vendor.glob("*.js"):
        first = script.read_text().partition("\n")[0]
        assert re.match(rf"// https://d3js\.org/{script.name.partition('.')[0]}/ v\d", first)
    assert "Permission to use, copy, modify" in (vendor / "LICENSE").read_text()
    assert "Robert Penner" in (vendor / "LICENSE-d3-ease").read_text()
