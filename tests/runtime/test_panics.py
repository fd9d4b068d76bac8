"""A panic of Rust code is an exception with its text, for the one call it happened in."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from types import ModuleType


async def same(value: object = "called") -> object:
    await asyncio.sleep(0)
    return value


def check_alive(ext: ModuleType, rt: gilscope.PyRuntime) -> None:
    """Both libraries go on, and no lock is poisoned."""
    assert ext.call(same, 5) == 5
    assert rt.call(same, 6) == 6
    assert not rt.is_stopped
    assert rt.stats()["calls"] > 0
    assert ext.flood(same, 50) == list(range(50))


@pytest.mark.parametrize("kind", ["panic", "panic_later"])
def test_e16_a_panic_in_a_rust_future_has_its_text(
    ext: ModuleType, default_rt: gilscope.PyRuntime, kind: str
) -> None:
    async def main() -> None:
        await ext.future(kind)

    with pytest.raises(gilscope.RustPanic, match="a future's panic"):
        asyncio.run(main())
    with pytest.raises(gilscope.RustPanic, match="a future's panic"):
        default_rt.submit(main).result(30)
    check_alive(ext, default_rt)


def test_e16_a_panic_in_an_arguments_conversion(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    ran: list[Any] = []
    with gilscope.trace() as trace:
        with pytest.raises(gilscope.RustPanic, match="a conversion's panic"):
            ext.call_bad_args("panic", ran.append)
        check_alive(ext, default_rt)
    statuses = [span["status"] for span in trace.spans if span["span"] == "call"]
    assert statuses.count("panic") == 1
    assert ran == []


def test_e16_a_panic_in_a_results_conversion(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    with pytest.raises(gilscope.RustPanic, match="a result conversion's panic"):
        ext.call_bad_result(same)
    check_alive(ext, default_rt)


def test_e17_panics_with_the_gil_held_poison_nothing(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    for _ in range(30):
        with pytest.raises(gilscope.RustPanic):
            ext.call_bad_args("panic", same)
        with pytest.raises(gilscope.RustPanic):
            ext.call_bad_result(same)
    check_alive(ext, default_rt)


def test_e17_a_panic_in_the_drop_of_an_argument(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    with pytest.raises(gilscope.RustPanic, match="a destructor's panic"):
        ext.call_bad_args("drop_panics", same)
    check_alive(ext, default_rt)


def test_e17_a_panic_in_the_drop_of_a_call_that_never_started(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    with pytest.raises((gilscope.DeadlineExceeded, gilscope.RustPanic)):
        ext.call_bad_args("never_started", same)
    check_alive(ext, default_rt)
