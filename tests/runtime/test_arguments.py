"""Arguments and results are passed by reference and let go of where that harms nobody."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    import gilscope

    from .conftest import Way

LIMIT = 30


class Prickly:
    """Neither hashable nor comparable nor copyable."""

    def __refuse(self, *_: object) -> Any:
        raise AssertionError("looked into an argument")

    __hash__ = __eq__ = __bool__ = __len__ = __refuse  # type: ignore[assignment]
    __copy__ = __deepcopy__ = __reduce_ex__ = __repr__ = __refuse  # type: ignore[assignment]


def cyclic() -> list[Any]:
    made: list[Any] = [{}]
    made[0]["self"] = made
    return made


MAKERS: dict[str, Callable[[], Any]] = {
    "unhashable": lambda: {"a": [1]},
    "huge": lambda: bytearray(100 << 20),
    "cyclic": cyclic,
    "prickly": Prickly,
}


async def same(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
    await asyncio.sleep(0)
    return args, kwargs


@pytest.mark.parametrize("kind", MAKERS)
def test_g1_arguments_and_results_are_passed_by_reference(way: Way, kind: str) -> None:
    value = MAKERS[kind]()
    (got,), _ = way.value(same, value)
    assert got is value
    assert way.value(lambda argument: argument, value) is value


@pytest.mark.parametrize("kind", MAKERS)
def test_g1_keyword_arguments_too(rt: gilscope.PyRuntime, kind: str) -> None:
    value = MAKERS[kind]()
    for _, got in (
        rt.call(same, key=value),
        rt.submit(same, key=value).result(LIMIT),
        asyncio.run(rt.call_async(same, key=value)),
    ):
        assert got["key"] is value


class Finalised:
    """Calls the runtime when it dies, and notes on which thread, or raises."""

    def __init__(self, rt: gilscope.PyRuntime, log: list[Any], *, raises: bool) -> None:
        self.rt, self.log, self.raises = rt, log, raises

    def __del__(self) -> None:
        self.log.append(self.rt.submit(threading.get_ident))
        if self.raises:
            raise ValueError("from a finaliser")


@pytest.mark.parametrize("raises", [False, True])
@pytest.mark.parametrize("role", ["argument", "result"])
def test_g3_finalisers_run_outside_locks(
    rt: gilscope.PyRuntime, unraisable: list[Any], eventually: Any, role: str, raises: bool
) -> None:
    log: list[Any] = []

    def make() -> Finalised:
        return Finalised(rt, log, raises=raises)

    async def take(_: object) -> None:
        await asyncio.sleep(0)

    async def give() -> Finalised:
        await asyncio.sleep(0)
        return make()

    for _ in range(20):
        if role == "argument":
            rt.submit_callback(lambda outcome: None, take, make())
        else:
            rt.submit_callback(lambda outcome: None, give)
    rt.call(asyncio.sleep, 0.01)
    eventually(lambda: gc.collect() >= 0 and len(log) == 20)
    assert len({future.result(LIMIT) for future in log}) == 1
    assert [kind for kind, _ in unraisable] == [ValueError] * (20 if raises else 0)


def test_g3_arguments_of_a_call_that_never_ran(rt: gilscope.PyRuntime, eventually: Any) -> None:
    log: list[Any] = []
    entered, release = threading.Event(), threading.Event()

    def hold() -> None:
        entered.set()
        release.wait(LIMIT)

    busy = rt.submit(hold)
    assert entered.wait(LIMIT)
    futures = [rt.submit(id, Finalised(rt, log, raises=False)) for _ in range(20)]
    assert all(future.cancel() for future in futures)
    release.set()
    busy.result(LIMIT)
    del futures
    eventually(lambda: gc.collect() >= 0 and len(log) == 20)
    assert len({future.result(LIMIT) for future in log}) == 1


class Thing:
    pass


def test_g5_many_results_leave_nothing_behind(way: Way) -> None:
    alive: weakref.WeakSet[Thing] = weakref.WeakSet()

    async def make() -> Thing:
        made = Thing()
        alive.add(made)
        return made

    for _ in range(200):
        way.value(make)
    end = time.monotonic() + LIMIT
    while alive and time.monotonic() < end:
        gc.collect()
        way.value(asyncio.sleep, 0)
    assert len(alive) == 0
