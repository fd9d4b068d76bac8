"""Where a suspended call awaits, as its spans tell: the innermost place of user code."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Generator

LIMIT = 30


async def inner() -> None:
    await asyncio.sleep(0)


async def outer() -> None:
    await inner()


async def items() -> AsyncIterator[int]:
    await inner()
    yield 1
    await asyncio.sleep(0)
    yield 2


async def loops() -> None:
    async for _ in items():
        pass


async def asks_for_the_next() -> None:
    await anext(items(), None)


async def closes() -> None:
    generator = cleans_up()
    await anext(generator)
    await generator.aclose()  # type: ignore[attr-defined]


async def cleans_up() -> AsyncIterator[int]:
    try:
        yield 1
    finally:
        await inner()


class OfAGenerator:
    def __await__(self) -> Generator[Any, None, None]:
        yield from asyncio.sleep(0).__await__()


class OfACoroutine:
    def __await__(self) -> Generator[Any, None, None]:
        return outer().__await__()


def future() -> asyncio.Future[None]:
    loop = asyncio.get_running_loop()
    made = loop.create_future()
    loop.call_soon(made.set_result, None)
    return made


class NoCoroutine:
    """Its attributes are user code, which may not run."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def __getattr__(self, name: str) -> Any:
        self.asked.append(name)
        raise AttributeError(name)

    def __await__(self) -> NoCoroutine:
        return self

    def __iter__(self) -> NoCoroutine:
        return self

    def __next__(self) -> None:
        if self.asked.count("next"):
            raise StopIteration
        self.asked.append("next")


async def awaits(awaitable: Any) -> None:
    await awaitable


async def deep(levels: int) -> None:
    if levels:
        await deep(levels - 1)
    else:
        await inner()


async def times_out() -> None:
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(asyncio.Event().wait(), 0.001)


def places(work: Callable[[], object], span: str = "call") -> list[str]:
    """The function names, or file names and functions, at which what `work` calls was suspended."""
    with gilscope.trace() as trace:
        work()
    told = {s["id"] for s in trace.spans if s["span"] == span}
    seen = [s for s in trace.spans if s["span"] == "suspended" and s["parent"] in told]
    return [s.get("at") or "" for s in seen]


def functions(work: Callable[[], object], span: str = "call") -> list[str]:
    """The names of the functions of this file in which they awaited."""
    names = []
    for place in places(work, span):
        file, _, rest = place.partition(":")
        assert file == __file__, place
        names.append(rest.partition(" in ")[2])
    return names


CALLED: dict[str, tuple[Callable[[], object], set[str]]] = {
    "itself": (inner, {"inner"}),
    "another": (outer, {"inner"}),
    "async_for": (loops, {"inner", "items"}),
    "anext": (asks_for_the_next, {"inner"}),
    "aclose": (closes, {"inner"}),
    "await_that_yields": (OfAGenerator, {"OfAGenerator.__await__"}),
    "await_of_a_coroutine": (OfACoroutine, {"inner"}),
    "deep": (lambda: deep(20), {"inner"}),
    "of_the_library": (times_out, {"times_out"}),
}


@pytest.mark.parametrize("case", CALLED)
def test_where_a_call_awaits(rt: gilscope.PyRuntime, case: str) -> None:
    fun, expected = CALLED[case]
    seen = functions(lambda: rt.options(deadline=LIMIT).call(fun))
    assert set(seen) == expected


def test_where_the_line_is_that_of_the_await(rt: gilscope.PyRuntime) -> None:
    line = inner.__code__.co_firstlineno + 1
    assert places(lambda: rt.call(outer)) == [f"{__file__}:{line} in inner"]


def test_where_a_stream_awaits(rt: gilscope.PyRuntime) -> None:
    async def read() -> list[int]:
        return [item async for item in rt.stream(items)]

    assert functions(lambda: asyncio.run(read())) == ["inner", "items"]


def test_where_a_child_task_awaits(rt: gilscope.PyRuntime) -> None:
    async def parent() -> None:
        await asyncio.create_task(outer())

    assert functions(lambda: rt.call(parent), "task") == ["inner"]


def test_where_nobodys_code_awaits_it_is_the_librarys_and_never_ours(
    rt: gilscope.PyRuntime,
) -> None:
    (place,) = places(lambda: rt.options(thread=True).call(time.sleep, 0.001))
    assert place.endswith(" in to_thread")
    (place,) = places(lambda: rt.call(asyncio.sleep, 0.001))
    assert place.endswith(" in sleep")
    assert places(lambda: rt.call(future)) == [""]


def test_where_a_call_awaits_is_seen_without_running_user_code(rt: gilscope.PyRuntime) -> None:
    strange = NoCoroutine()
    assert functions(lambda: rt.call(awaits, strange)) == ["awaits"]
    assert strange.asked == ["next"]


def test_where_a_chain_without_end_awaits(rt: gilscope.PyRuntime) -> None:
    assert functions(lambda: rt.call(deep, 200)) == ["deep"]  # looking has a bound
