"""Functions that Python calls must park at exit before Rust frames are unwound: life/park.rs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(__file__).parents[2] / "runtime" / "src"
GUARD = re.compile(r"let _parks = (crate::life::park::)?ParkOnExit::new\(\);")
REASON = "// No guard"
# What a function has that may run Python code or let go of the GIL.
HANDS = re.compile(r"\b(Python|Bound|Given|Py)<")
# Lets go of objects, on whichever thread the garbage collector runs.
CLEARS = "__clear__"
# Conversions that may run Python code, before the function's body has a guard.
CONVERTED = re.compile(r"\b(PathBuf|f64)\b")
ITEM = re.compile(r"^( *)(?:pub(?:\(crate\))? )?(?:unsafe )?fn (\w+)")


def item_at(lines: list[str], start: int) -> str:
    """The function that begins there, to the brace that closes it."""
    indent = lines[start][: len(lines[start]) - len(lines[start].lstrip())]
    end = next(i for i in range(start, len(lines)) if lines[i] == f"{indent}}}")
    return "\n".join(lines[start : end + 1])


def above(lines: list[str], start: int) -> str:
    """The comments and attributes above a line."""
    first = start
    while first > 0 and re.match(r" *(//|#\[|\)\]|[a-z_:]+(,| = .*)$)", lines[first - 1]):
        first -= 1
    return "\n".join(lines[first:start])


def functions(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, text, and what stands above it, of each function that Python calls."""
    lines, within = text.splitlines(), None
    for number, line in enumerate(lines):
        if line == "#[pymethods]":
            within = above(lines, number)
        elif line == "}":
            within = None
        elif (found := ITEM.match(line)) is not None:
            indent, name = found.groups()
            comments = above(lines, number)
            if within is not None and indent == "    ":
                yield name, item_at(lines, number), f"{within}\n{comments}"
            elif "#[pyfunction]" in comments or "#[pymodule_init]" in comments:
                yield name, item_at(lines, number), comments


def parameters(body: str) -> str:
    return body.partition("{\n")[0].partition("->")[0]


def unguarded(text: str) -> list[str]:
    """The functions that have neither a guard nor a reason for that, or convert before it."""
    found = []
    for name, body, comments in functions(text):
        if GUARD.search(body):
            if CONVERTED.search(parameters(body)) and REASON not in comments:
                found.append(f"{name}: converts before its guard")
        elif (HANDS.search(body) or name == CLEARS) and REASON not in comments:
            found.append(f"{name}: no guard")
    return found


def test_l14_functions_that_run_python_code_have_a_guard_or_a_reason() -> None:
    found = {
        f"{path.relative_to(SOURCES)} {what}"
        for path in SOURCES.rglob("*.rs")
        for what in unguarded(path.read_text())
    }
    assert not found


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("#[pyfunction]\nfn a(py: Python<'_>) {\n}\n", ["a: no guard"]),
        ("#[pyfunction]\n// No guard: none.\nfn a(py: Python<'_>) {\n}\n", []),
        ("#[pyfunction]\nfn a(n: u64) {\n}\n", []),
        (
            "#[pymethods]\nimpl A {\n    fn __clear__(&self) {\n    }\n}\n",
            ["__clear__: no guard"],
        ),
        (
            "#[pymethods]\nimpl A {\n    fn a(&self, it: &Bound<'_, B>) {\n    }\n}\n",
            ["a: no guard"],
        ),
        ("// No guard: x.\n#[pymethods]\nimpl A {\n    fn a(py: Python<'_>) {\n    }\n}\n", []),
        ("impl A {\n    fn a(py: Python<'_>) {\n    }\n}\n", []),
        (
            "#[pyfunction]\nfn a(s: f64) {\n    let _parks = ParkOnExit::new();\n}\n",
            ["a: converts before its guard"],
        ),
        ("#[pyfunction]\nfn a(b: Py<B>) {\n    let _parks = ParkOnExit::new();\n}\n", []),
    ],
)
def test_l14_the_check_sees_what_it_looks_for(source: str, expected: list[str]) -> None:
    assert unguarded(source) == expected
