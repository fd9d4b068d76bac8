"""Streams both ways: nothing lost, errors delivered, the other side closed when one lets go."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import ModuleType


@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_stream_of_a_generator_gives_every_item_in_order(
    ext: ModuleType, default_rt: gilscope.PyRuntime, source: Any, pause: float
) -> None:
    n = 1000 if pause == 0 else 100
    items, error = ext.collect(source, n, pause=pause, ints=True)
    assert error is None
    assert items == list(range(n))
    assert source.finished.wait(10)


def test_stream_of_a_raising_generator_delivers_its_error(
    ext: ModuleType, default_rt: gilscope.PyRuntime, source: Any
) -> None:
    items, error = ext.collect(source, 10, 5)
    assert items == [0, 1, 2, 3, 4]
    assert error is source.broke
    assert source.finished.wait(10)


def test_stream_of_what_is_no_async_iterator_says_so(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    async def one() -> int:
        return 42

    for fun in (one, lambda: 42):
        items, error = ext.collect(fun)
        assert items == []
        assert type(error) is TypeError
        assert str(error) == (
            f"{__name__}.{fun.__qualname__} returned 42 (int), which is no async iterable: "
            "a stream needs an async generator function; for one result use call_async"
        )


def test_stream_of_what_refuses_to_be_iterated_delivers_its_error(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    refusal = ValueError("not now")

    class Refuses:
        def __aiter__(self) -> AsyncIterator[int]:
            raise refusal

    assert ext.collect(Refuses) == ([], refusal)


def test_stream_item_that_does_not_convert_ends_it(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    finished = threading.Event()

    async def mixed() -> AsyncIterator[object]:
        try:
            yield 1
            yield "two"
            yield 3
        finally:
            finished.set()

    items, error = ext.collect(mixed, ints=True)
    assert items == [1]
    assert isinstance(error, gilscope.ResultError)
    assert error.value == "two"
    assert finished.wait(10)
