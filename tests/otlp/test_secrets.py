"""What is exported says what was called, and never with what, nor what came of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from accounts import NOTHING, exporting
from faulty import LIMIT

if TYPE_CHECKING:
    from accounts import Export
    from faulty import Faulty

SECRET = "s3cret-of-the-caller"
FUNCTIONS = ("takes_and_returns", "awaits", "wants_no_such", "holds", "fails")


class Secretive:
    """As an object that says too much of itself does."""

    def __repr__(self) -> str:
        return SECRET

    __str__ = __repr__


async def takes_and_returns(first: object, *, second: object) -> object:
    await asyncio.sleep(0)
    return [first, second]


async def awaits(value: object) -> object:
    async def child(of: object) -> object:
        await asyncio.sleep(0)
        return of

    return await asyncio.create_task(child(value))


def holds(value: object) -> tuple[object]:
    return (value,)


async def wants_no_such() -> None:
    pass


async def fails(value: object) -> None:
    raise LookupError("nothing of it is in here")


def work(export: Export) -> None:
    """Calls of every kind, with the secret as argument, keyword, result, and in what fails."""
    for value in (SECRET, {"key": SECRET}, SECRET.encode(), Secretive()):
        rt = export.rt
        done = rt.submit(takes_and_returns, value, second=value).result(LIMIT)
        assert done == [value, value]
        assert rt.submit(awaits, value).result(LIMIT) == value
        assert rt.submit(holds, value).result(LIMIT) == (value,)
        with pytest.raises(TypeError):
            rt.submit(wants_no_such, value).result(LIMIT)
        with pytest.raises(LookupError):
            rt.submit(fails, value).result(LIMIT)


def test_nothing_that_was_passed_or_returned_is_exported(faulty: Faulty) -> None:
    with exporting(faulty) as export:
        work(export)
    assert export.lost == NOTHING
    sent = b"".join(faulty.requests + faulty.metrics)
    for name in FUNCTIONS:
        assert name.encode() in sent  # it can be read, so that a secret would be seen
    assert SECRET.encode() not in sent
    assert SECRET.encode("utf-16-le") not in sent
    assert SECRET.encode().hex().encode() not in sent


def test_message_of_an_exception_is_exported_as_it_was_raised(faulty: Faulty) -> None:
    """Whoever puts an argument there has it sent, unless `GILSCOPE_REDACT` is set."""

    async def tells(value: str) -> None:
        raise LookupError(value)

    with exporting(faulty) as export, pytest.raises(LookupError):
        export.rt.submit(tells, SECRET).result(LIMIT)
    assert any(SECRET.encode() in body for body in faulty.requests)
