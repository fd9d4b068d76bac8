"""E11: what a span says of the exceptions in a group, and of notes."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

HEAD = "Traceback (most recent call last):"
MORE = "  | [more of them are left out]"


def lines(stack: str) -> list[str]:
    """Its lines, of frames the function only."""
    return [
        line.split('File "')[0] + line.split(", ")[2] if 'File "' in line else line
        for line in stack.splitlines()
    ]


def members(stack: str) -> list[str]:
    """What is said after the exception itself, without the rules."""
    return [line.removeprefix("  | ") for line in stack.splitlines() if line.startswith("  | ")]


async def child(error: Exception) -> None:
    raise error


def test_e11_a_failed_task_group_tells_what_failed(told: Callable[..., dict[str, str]]) -> None:
    async def raises() -> None:
        second = KeyError("second")
        second.add_note("and why")
        async with asyncio.TaskGroup() as group:
            group.create_task(child(ValueError("first")))
            group.create_task(child(second))

    event = told(raises, ExceptionGroup)
    assert lines(event["exception.stacktrace"]) == [
        HEAD,
        "  in raises",
        "  in __aexit__",
        "ExceptionGroup: unhandled errors in a TaskGroup (2 sub-exceptions)",
        "  +---------------- 1 ----------------",
        f"  | {HEAD}",
        "  |   in child",
        "  | ValueError: first",
        "  +---------------- 2 ----------------",
        f"  | {HEAD}",
        "  |   in child",
        "  | KeyError: 'second'",
        "  | and why",
        "  +------------------------------------",
    ]


def test_e11_a_group_that_an_exception_was_raised_from_is_told(
    told: Callable[..., dict[str, str]],
) -> None:
    async def raises() -> None:
        try:
            raise ExceptionGroup("several", [ValueError("first")])
        except* ValueError as several:
            raise RuntimeError("outer") from several

    stack = lines(told(raises, RuntimeError)["exception.stacktrace"])
    assert stack[-3:] == [HEAD, "  in raises", "RuntimeError: outer"]
    assert "  | ValueError: first" in stack


def test_e11_of_groups_in_groups_the_first_exceptions_are_told(
    told: Callable[..., dict[str, str]],
) -> None:
    async def raises() -> None:
        errors: list[Exception] = [ValueError(str(number)) for number in range(20)]
        inner = ExceptionGroup("inner", [*errors[1:4], ExceptionGroup("innermost", errors[4:6])])
        raise ExceptionGroup("outer", [errors[0], inner, *errors[6:], inner])

    stack = told(raises, ExceptionGroup)["exception.stacktrace"]
    assert members(stack) == [*(f"ValueError: {number}" for number in range(8)), MORE[4:]]
    assert "inner" not in stack.replace("sub-exceptions", "")


def test_e11_long_exceptions_in_a_group_share_the_room(
    told: Callable[..., dict[str, str]],
) -> None:
    async def raises() -> None:
        raise ExceptionGroup("several", [ValueError(f"{n} {'é' * 4000}") for n in range(8)])

    stack = told(raises, ExceptionGroup)["exception.stacktrace"]
    assert 12 << 10 < len(stack.encode()) <= 16 << 10
    told_of = members(stack)
    assert [line[:13] for line in told_of] == [f"ValueError: {n}" for n in range(8)]
    assert all(line.endswith("é…") for line in told_of)


def test_e11_notes_are_told_if_they_are_text(told: Callable[..., dict[str, str]]) -> None:
    async def raises() -> None:
        error = ValueError("it")
        error.__notes__ = ["one\ntwo", 7, None, b"no", "three"]
        raise error

    stack = lines(told(raises, ValueError)["exception.stacktrace"])
    assert stack == [HEAD, "  in raises", "ValueError: it", "one", "two", "three"]


def test_e11_no_code_of_groups_or_notes_runs(told: Callable[..., dict[str, str]]) -> None:
    ran: list[str] = []

    class Sly(ExceptionGroup[Exception]):
        @property
        def exceptions(self) -> Any:
            ran.append("exceptions")
            return ()

        @property
        def __notes__(self) -> Any:
            ran.append("notes")
            return ["no"]

    class Noted(list[str]):
        def __iter__(self) -> Any:
            ran.append("iter")
            return super().__iter__()

    async def raises() -> None:
        error = KeyError("in it")
        error.__notes__ = Noted(["a note"])
        raise Sly("sly", [error])

    stack = lines(told(raises, Sly)["exception.stacktrace"])
    assert stack[-4:-1] == [
        "  +---------------- 1 ----------------",
        "  | KeyError: 'in it'",
        "  | a note",
    ]
    assert ran == []


def test_e11_many_long_notes_leave_the_exception_itself(
    told: Callable[..., dict[str, str]],
) -> None:
    async def raises() -> None:
        error = ValueError("it")
        error.__notes__ = ["x" * 3000] * 1000
        raise error

    stack = told(raises, ValueError)["exception.stacktrace"]
    assert 12 << 10 < len(stack.encode()) <= 16 << 10
    assert stack.startswith("ValueError: it\nx")
