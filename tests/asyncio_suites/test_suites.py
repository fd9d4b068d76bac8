"""Each coroutine of CPython's own asyncio tests runs through a call as it does through a task.

What is left out stands in `excluded.toml`, with its reason; the list may neither hide what works
nor name what does not exist.
"""

from __future__ import annotations

import fnmatch
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import test.test_asyncio
import uvloop

if TYPE_CHECKING:
    from types import SimpleNamespace

# Seconds after which an excluded test that hangs has failed.
HANGS_AFTER = 3.0


def test_passes(case: Any, suites: SimpleNamespace) -> None:
    wrong = suites.drive(case)
    assert not wrong, wrong


def test_l12_passes_in_debug_mode(isolated_case: Any, suites: SimpleNamespace) -> None:
    wrong = suites.drive(isolated_case, debug=True)
    assert not wrong, wrong


def test_l12_passes_on_uvloop(uvloop_case: Any, suites: SimpleNamespace) -> None:
    wrong = suites.drive(uvloop_case, loop_factory=uvloop.new_event_loop)
    assert not wrong, wrong


def test_no_excluded_test_passes(suites: SimpleNamespace) -> None:
    # Of a test that several classes inherit, one.
    cases = {(case.suite, case.function): case for case in suites.excluded}.values()
    passing = [case.name for case in cases if not suites.drive(case, HANGS_AFTER)]
    assert passing == []


def test_no_test_excluded_on_uvloop_passes(suites: SimpleNamespace) -> None:
    on_uvloop = {"loop_factory": uvloop.new_event_loop}
    cases = suites.not_on_uvloop
    passing = [c.name for c in cases if not suites.drive(c, HANGS_AFTER, **on_uvloop)]
    assert passing == []


def test_every_exclusion_is_of_a_test_that_exists(suites: SimpleNamespace) -> None:
    names = [case.name for case in suites.all]
    dead = [p for p in suites.patterns if not fnmatch.filter(names, p)]
    assert dead == []


def test_every_exclusion_has_a_reason(suites: SimpleNamespace) -> None:
    rows = [row for table in ("repeated", "tests", "uvloop") for row in suites.listed[table]]
    assert [row for row in rows if not row["reason"] or not set(row["on"])] == []
    assert [name for name, reason in suites.listed["suites"].items() if not reason] == []


def test_every_suite_has_tests_that_are_driven(suites: SimpleNamespace) -> None:
    absent = {name for name, on in suites.listed["absent"].items() if suites.version in on}
    driven = {case.suite for case in suites.driven}
    assert set(suites.names) - driven <= absent


def test_every_suite_of_the_package_is_driven_or_left_out(suites: SimpleNamespace) -> None:
    found = {module.name for module in pkgutil.iter_modules(test.test_asyncio.__path__)}
    found = {name for name in found if name.startswith("test_")}
    driven = {name.removeprefix("test_asyncio.") for name in suites.names}
    out = set(suites.listed["suites"])
    assert found - driven - out == set()
    assert out & driven == set()
    assert out - found == set()


def test_no_suite_of_test_coroutines_is_left_out(suites: SimpleNamespace) -> None:
    folder = Path(test.test_asyncio.__file__).parent
    written = [n for n in suites.listed["suites"] if "IsolatedAsyncioTestCase" in source(folder, n)]
    assert written == []


def source(folder: Path, name: str) -> str:
    return (folder / f"{name}.py").read_text()
