"""Each coroutine of CPython's own asyncio tests runs through a call as it does through a task."""

from __future__ import annotations


def test_passes(case, drive) -> None:
    wrong = drive(case)
    assert not wrong, wrong


def test_excluded(excluded_case, drive) -> None:
    assert drive(excluded_case, deadline=3.0), "it passes: take it off the list"
