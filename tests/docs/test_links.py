"""Links of the pages lead somewhere: to a file that is there, and to a heading that it has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])
CODE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def headings(page: Path) -> set[str]:
    """The headings of a page, as links name them."""
    found = re.findall(r"^#+ (.*)$", CODE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def dead(page: Path) -> list[str]:
    """The links of a page, within the project, that lead nowhere."""
    links = LINK.findall(CODE.sub("", page.read_text()))
    own = [link for link in links if not re.match(r"[a-z]+:", link)]
    lost = []
    for link in own:
        path, _, heading = link.partition("#")
        target = (page.parent / path) if path else page
        if not target.exists() or (heading and heading not in headings(target)):
            lost.append(link)
    return lost


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_link_leads_somewhere(page: Path) -> None:
    assert dead(ROOT / page) == []


def test_a_dead_link_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A `Heading`, here\n[1](#a-heading-here) [2](#b) [3](page.md#b) [4](gone.md)")
    assert dead(page) == ["#b", "page.md#b", "gone.md"]


def test_each_page_is_named_by_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    for page in PAGES:
        linked = f"]({page})" in readme or f"]({page}#" in readme
        assert linked or str(page) == "README.md", page
