"""docs/findings.md: each finding has its section, and the programs in it are run as doc-tests."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "findings.md").read_text()
SOURCE = (ROOT / "instrument" / "src" / "finding" / "mod.rs").read_text()
TABLE = re.findall(r"^\| (GS\d\d) \| `(\w+)` \|", PAGE, re.MULTILINE)
# Between what a section says and what its program asserts: the function.
FUNCTION = r"`[\w.:]+`"


def section(head: str) -> str:
    return PAGE.partition(f"\n## {head}\n")[2].partition("\n## ")[0]


def test_the_table_has_every_finding_there_is() -> None:
    assert [own for own, _ in TABLE] == sorted(set(re.findall(r'"(GS\d\d)"', SOURCE)))
    assert len(TABLE) >= 7


@pytest.mark.parametrize(("own", "name"), TABLE)
def test_a_finding_has_a_section_that_begins_with_its_sentence(own: str, name: str) -> None:
    assert section(f"{own} {name}").strip().startswith("`` `app.")


@pytest.mark.parametrize("head", ["GS06 never_awaited", "GS07 lost_wake"])
def test_a_program_of_the_page_is_run_and_says_the_sentence_of_its_section(head: str) -> None:
    (program,) = re.findall(r"```rust\n(.*?)```", section(head), re.DOTALL)
    (sentence,) = re.findall(r"^\n*`` (.*) ``\n", section(head))
    asserted = "".join(re.findall(r'sentence.*?"(.*)"\)', program))
    assert re.split(FUNCTION, sentence)[-1] == re.split(FUNCTION, asserted)[-1].rpartition("`")[2]
    doctests = (ROOT / "runtime" / "src" / "lib.rs").read_text()
    assert 'include_str!("../../docs/findings.md")' in doctests
