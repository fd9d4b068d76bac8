"""Each coroutine of CPython's own asyncio tests runs through a call as it does through a task."""

from __future__ import annotations
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from conftest import Case


def test_passes(case, drive) -> None:
    result = drive(case)
    wrong = [*result.errors, *result.failures, *result.skipped]
    assert not wrong, "\n".join(text for _, text in wrong)
    assert not result.unexpectedSuccesses
    assert result.testsRun == 1
