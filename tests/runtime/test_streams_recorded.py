"""What streams leave in statistics and spans: their end is no error, what they raise is one."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope
from gilscope import _native

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from types import ModuleType

LIMIT = 20


async def count(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number


async def breaks(n: int) -> AsyncIterator[int]:
    for number in range(n):
        yield number
    raise ValueError("broke")


class Counts:
    """An async iterator that is no generator; its end comes from a coroutine."""

    def __init__(self, n: int) -> None:
        self.left = iter(range(n))

    def __aiter__(self) -> Counts:
        return self

    async def __anext__(self) -> int:
        for number in self.left:
            return number
        raise StopAsyncIteration


class CountsAtOnce(Counts):
    """Its end is raised before there is anything to await."""

    def __anext__(self) -> Any:
        for number in self.left:
            return asyncio.sleep(0, number)
        raise StopAsyncIteration


def from_python(ext: ModuleType, rt: gilscope.PyRuntime, fun: Any, n: int) -> list[int]:
    async def items() -> list[int]:
        return [item async for item in rt.stream(fun, n)]

    read: list[int] = asyncio.run(asyncio.wait_for(items(), LIMIT))
    return read


def from_rust(ext: ModuleType, rt: gilscope.PyRuntime, fun: Any, n: int) -> list[int]:
    items, error = ext.collect(fun, n)
    if error is not None:
        raise error
    read: list[int] = items
    return read


each_side = pytest.mark.parametrize("read", [from_python, from_rust])


def recorded(work: Callable[[], object]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Statistics of the work, and the spans of its calls."""
    _native.reset_stats()
    with gilscope.trace() as trace:
        work()
        gilscope.py_runtime().shutdown("drain", deadline=LIMIT)  # nobody waits for the close
    return gilscope.stats(), [span for span in trace.spans if span["span"] == "call"]


@each_side
@pytest.mark.parametrize("fun", [count, Counts, CountsAtOnce])
def test_stream_that_comes_to_its_end_has_no_error(
    ext: ModuleType, default_rt: gilscope.PyRuntime, read: Any, fun: Any
) -> None:
    stats, calls = recorded(lambda: read(ext, default_rt, fun, 2))
    assert [(span["status"], span.get("error")) for span in calls] == [("ok", None)] * len(calls)
    assert sum(span["name"].endswith(".__anext__") for span in calls) == 3
    assert (stats["errors"], stats["by_status"]) == ({}, {"ok": len(calls)})
    assert {function["errors"] for function in stats["functions"]} == {0}


@each_side
def test_stream_that_raises_has_an_error(
    ext: ModuleType, default_rt: gilscope.PyRuntime, read: Any
) -> None:
    def work() -> None:
        with pytest.raises(ValueError, match="broke"):
            read(ext, default_rt, breaks, 2)

    stats, calls = recorded(work)
    failed = [span["error"] for span in calls if span["status"] == "error"]
    assert failed == [{"type": "ValueError", "message": "broke"}]
    assert (stats["errors"], stats["by_status"]["error"]) == ({"ValueError": 1}, 1)


def test_call_that_raises_what_ends_a_stream_has_an_error(default_rt: gilscope.PyRuntime) -> None:
    async def ends() -> None:
        raise StopAsyncIteration

    def work() -> None:
        with pytest.raises(StopAsyncIteration):
            default_rt.call(ends)

    stats, calls = recorded(work)
    assert [span["status"] for span in calls] == ["error"]
    assert stats["errors"] == {"StopAsyncIteration": 1}
