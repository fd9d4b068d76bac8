"""Each coroutine of CPython's own asyncio tests runs through a call as it does through a task.

Every test of a suite is driven, or stands in `excluded.toml` with its reason; the list may neither
hide what works nor name what does not exist.
"""

from __future__ import annotations

import os
import pkgutil
import unittest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import test.test_asyncio
import uvloop

if TYPE_CHECKING:
    from types import SimpleNamespace

SOAK = bool(os.environ.get("GILSCOPE_SOAK"))

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


# Those that fail leave threads, tasks and coroutines behind that complain.
NOISY = pytest.mark.filterwarnings("ignore")


@NOISY
def test_no_excluded_test_passes(suites: SimpleNamespace) -> None:
    # Of a test that several classes inherit, one. Those that run the loop by themselves may hang
    # when they run one that is running, so the soak alone tries them.
    tried = [case for case in suites.excluded if case.way == "isolated" or SOAK]
    cases = {(case.suite, case.function): case for case in tried}.values()
    passing = [case.name for case in cases if not suites.drive(case, HANGS_AFTER)]
    assert passing == []


@NOISY
def test_no_test_excluded_on_uvloop_passes(suites: SimpleNamespace) -> None:
    on_uvloop = {"loop_factory": uvloop.new_event_loop}
    cases = suites.not_on_uvloop
    passing = [c.name for c in cases if not suites.drive(c, HANGS_AFTER, **on_uvloop)]
    assert passing == []


def test_every_test_of_a_suite_is_driven_or_listed(suites: SimpleNamespace) -> None:
    loader = unittest.TestLoader()
    found = [loader.loadTestsFromModule(m) for m in suites.modules.values() if m]
    known = [case.name for case in (*suites.driven, *suites.left_out)]
    assert sorted(name for suite in found for name in names(suite)) == sorted(known)


def names(suite: unittest.TestSuite) -> list[str]:
    """The names of the tests in what unittest itself loads."""
    classes = (tests for tests in suite if isinstance(tests, unittest.TestSuite))
    return [test.id().removeprefix("test.") for tests in classes for test in tests]


def test_every_exclusion_is_of_a_test_that_exists(suites: SimpleNamespace) -> None:
    assert suites.idle == []


def test_every_exclusion_has_a_reason(suites: SimpleNamespace) -> None:
    rows = [row for table in ("repeated", "tests", "uvloop") for row in suites.listed[table]]
    assert [row for row in rows if not row["reason"] or not set(row["on"])] == []
    assert [name for name, reason in suites.listed["suites"].items() if not reason] == []


def test_every_suite_has_tests_that_are_driven(suites: SimpleNamespace) -> None:
    absent = {name for name, on in suites.listed["absent"].items() if suites.version in on}
    assert {name for name, module in suites.modules.items() if module is None} == absent
    assert set(suites.modules) - {case.suite for case in suites.driven} == absent


def test_every_suite_of_the_package_is_driven_or_left_out(suites: SimpleNamespace) -> None:
    found = {module.name for module in pkgutil.iter_modules(test.test_asyncio.__path__)}
    found = {name for name in found if name.startswith("test_")}
    driven = {name.removeprefix("test_asyncio.") for name in suites.modules}
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
