"""What Rust's `Display`, `Debug` and `source()` say."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    import gilscope

PLACEHOLDER = "<its __str__ raised>"


class Loud(BaseException):
    pass


def unprintable(raises: BaseException) -> type[Exception]:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise raises

        __repr__ = __str__

    return Unprintable


@pytest.mark.parametrize("raises", [KeyError("no text"), Loud()], ids=["exception", "loud"])
def test_e9_an_error_without_text_is_told_in_rust(
    ext: ModuleType, default_rt: gilscope.PyRuntime, unraisable: list[Any], raises: BaseException
) -> None:
    kind = unprintable(raises)

    async def boom() -> None:
        raise kind from kind()

    display, debug, sources = ext.told(boom)
    assert display.endswith(f"Unprintable: {PLACEHOLDER}")
    assert debug.startswith(f"Python(PythonError({display})")
    assert ", in boom" in debug
    assert sources == [display]
    assert unraisable == []
    assert default_rt.call(int) == 0


async def from_another() -> None:
    try:
        raise KeyError("first")
    except KeyError as error:
        raise ValueError("second") from error


async def while_another() -> None:
    try:
        raise KeyError("first")
    except KeyError:
        raise ValueError("second")  # noqa: B904 - the context is what it is about


async def from_none() -> None:
    try:
        raise KeyError("first")
    except KeyError:
        raise ValueError("second") from None


async def in_a_cycle() -> None:
    error, cause = ValueError("second"), KeyError("first")
    error.__cause__, cause.__cause__ = cause, error
    raise error


KEY = "KeyError: 'first'"


@pytest.mark.parametrize(
    ("fails", "sources"),
    [
        (from_another, [KEY]),
        (while_another, [KEY]),
        (from_none, []),
        (in_a_cycle, [KEY, "ValueError: second"] * 8),
    ],
)
def test_e1_the_source_of_an_error_is_what_it_was_raised_from(
    ext: ModuleType,
    default_rt: gilscope.PyRuntime,
    fails: Callable[[], Any],
    sources: list[str],
) -> None:
    display, _, found = ext.told(fails)
    assert (display, found) == ("ValueError: second", sources)


def test_a_result_that_cannot_be_converted_is_told_in_rust(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    display, debug, sources = ext.told(str, "no number")
    assert display.startswith("the result could not be converted: TypeError: ")
    assert debug.startswith("Result { error: PythonError(TypeError: ")
    assert sources == []


def test_a_handle_shows_its_id_and_state(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any
) -> None:
    async def stubborn() -> None:
        try:
            await gate()
        except asyncio.CancelledError:
            await gate()

    sent = ext.send("closure", stubborn)
    assert gate.started.wait(10)
    shown = f"Some(CallHandle {{ id: {sent.id}, state: %s }})"
    assert repr(sent) == shown % "in flight"
    assert sent.cancel()
    assert repr(sent) == shown % "being cancelled"
    gate.open()
    assert sent.wait()
    assert repr(sent) == shown % "done"


def test_a_runtime_shows_its_id_and_whether_it_is_stopped(ext: ModuleType) -> None:
    runtime = ext.Runtime()
    assert repr(runtime) == f"PyRuntime {{ id: {runtime.id}, is_stopped: false }}"
    assert runtime.shutdown("cancel", 10)[2]
    assert repr(runtime) == f"PyRuntime {{ id: {runtime.id}, is_stopped: true }}"
