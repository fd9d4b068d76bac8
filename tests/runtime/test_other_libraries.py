"""Awaitables of other async libraries fail with an error that says what is wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import sniffio
import trio

if TYPE_CHECKING:
    from .conftest import Way


def test_a11_a_call_knows_its_library(way: Way) -> None:
    async def library() -> str:
        return sniffio.current_async_library()

    assert way.value(library) == "asyncio"


def test_a11_an_awaitable_of_another_library_is_a_clear_error(way: Way) -> None:
    async def guest() -> None:
        await trio.sleep(0.01)

    error = way.error(guest)
    assert isinstance(error, RuntimeError)
    assert "async context" in str(error) or "trio" in str(error).lower()
    assert way.value(asyncio.sleep, 0, "alive") == "alive"


def test_a11_a_trap_of_another_library_is_a_clear_error(way: Way) -> None:
    async def guest() -> None:
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.SUCCEEDED)

    error = way.error(guest)
    assert isinstance(error, RuntimeError)
    assert "bad yield" in str(error)
    (note,) = error.__notes__
    assert "seems to belong to the library 'trio'" in note
    assert "calls run on asyncio" in note
    assert way.value(asyncio.sleep, 0, "alive") == "alive"
