"""The contract in docs/guarantees.md and the tests that hold it belong together, row by row."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
FAMILIES = {"E": 17, "A": 12, "G": 5, "C": 10, "L": 20, "X": 6, "O": 6, "B": 4, "V": 2, "T": 2}
ROWS = [f"{family}{number + 1}" for family, size in FAMILIES.items() for number in range(size)]
NOT_YET: set[str] = set()
FIGURES = {"O5": "bench", "L20": "soak"}  # measured by a target of the Makefile
FIGURES |= dict.fromkeys(("L2", "L4", "L7", "X6", "B1", "B3"), "soak")
PARTLY = {"B4", "T1"}
TESTED = [row for row in ROWS if row not in NOT_YET]

RUST_TEST = re.compile(r"#\[(?:tokio::)?test\b[^]]*\]\s*(?:#\[[^]]*\]\s*)*(?:async\s+)?fn\s+(\w+)")
RUST_FOLDERS = ("runtime", "instrument", "examples", "benches", "tests", "fuzz")


@cache
def document() -> dict[str, str]:
    """The last cell of each row, by id. An id that stands there twice is an error."""
    cells: dict[str, str] = {}
    for line in (ROOT / "docs" / "guarantees.md").read_text().splitlines():
        if (row := re.match(r"\| ([A-Z]\d+) \|.*\| (.*) \|$", line)) is not None:
            assert row[1] not in cells, f"{row[1]} stands there twice"
            cells[row[1]] = row[2]
    return cells


def linked(row: str) -> list[tuple[str, str]]:
    """The tests that a row links: path and name."""
    return re.findall(r"\[`([^`:]+)::(\w+)`\]", document()[row])


@cache
def names_in(path: Path) -> frozenset[str]:
    """The names of the tests in a file."""
    text = path.read_text()
    if path.suffix == ".rs":
        return frozenset(RUST_TEST.findall(text))
    return frozenset(functions_of(ast.parse(text).body))


def functions_of(body: list[ast.stmt]) -> Iterator[str]:
    """The test functions among statements and in their blocks, not those inside functions."""
    for node in body:
        if isinstance(node, ast.FunctionDef):
            if node.name.startswith("test_"):
                yield node.name
        else:
            yield from functions_of([*getattr(node, "body", []), *getattr(node, "orelse", [])])


def carries(name: str, row: str) -> bool:
    """Whether a test's name carries the row's id; a name may carry several."""
    ids = re.match(r"(?:test_)?((?:[a-z]\d+_)+)", name)
    return ids is not None and row.lower() in ids[1].split("_")


@cache
def all_tests() -> frozenset[str]:
    """The names of all tests of the project."""
    python = [path for top in ("tests", "fuzz") for path in (ROOT / top).rglob("test_*.py")]
    rust = [path for top in RUST_FOLDERS for path in (ROOT / top).rglob("*.rs")]
    files = [path for path in python + rust if "target" not in path.relative_to(ROOT).parts]
    return frozenset().union(*map(names_in, files))


def test_every_row_stands_in_the_document_once_and_in_order() -> None:
    assert list(document()) == ROWS


@pytest.mark.parametrize("row", TESTED)
def test_a_row_has_a_test_that_carries_its_id(row: str) -> None:
    assert any(carries(name, row) for name in all_tests()), f"no test holds {row}"
    assert linked(row), f"docs/guarantees.md links no test of {row}"


@pytest.mark.parametrize("row", ROWS)
def test_a_linked_test_exists_and_carries_the_id(row: str) -> None:
    for path, name in linked(row):
        assert (ROOT / path).is_file(), f"{row}: there is no {path}"
        assert name in names_in(ROOT / path), f"{row}: there is no {name} in {path}"
        assert carries(name, row), f"{name} does not carry {row}"
        assert f"](../{path})" in document()[row], f"{row}: {path} is not linked"


@pytest.mark.parametrize("row", TESTED)
def test_what_carries_an_id_is_linked(row: str) -> None:
    carrying = {name for name in all_tests() if carries(name, row)}
    assert carrying - {name for _, name in linked(row)} == set()


@pytest.mark.parametrize("row", sorted(NOT_YET | PARTLY))
def test_what_is_not_there_yet_says_so(row: str) -> None:
    assert "not yet" in document()[row]


@pytest.mark.parametrize("row", FIGURES)
def test_a_figure_names_what_measures_it(row: str) -> None:
    target = FIGURES[row]
    assert f"`make {target}`" in document()[row]
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize(
    ("name", "row", "expected"),
    [
        ("test_e1_an_exception", "E1", True),
        ("test_e10_a_cycle", "E1", False),
        ("test_l13_l14_exits", "L14", True),
        ("o4_order_of_points", "O4", True),
        ("test_the_e1_row", "E1", False),
    ],
)
def test_a_name_carries_the_ids_it_begins_with(name: str, row: str, expected: bool) -> None:
    assert carries(name, row) is expected
