"""What a caller in Rust can do wrong: conversions that fail or panic, handles dropped anywhere."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="default")


async def same(value: object = "called") -> object:
    await asyncio.sleep(0)
    return value


class Thing:
    pass


def alive(ext: ModuleType) -> bool:
    return bool(ext.call(same, 5) == 5)


def test_g2_an_argument_that_does_not_convert(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    ran: list[int] = []
    others = [default_rt.submit(same, number) for number in range(10)]
    with pytest.raises(gilscope.ArgumentError) as caught:
        ext.call_bad_args("error", ran.append)
    assert isinstance(caught.value, TypeError)
    assert isinstance(caught.value.__cause__, ValueError)
    assert [other.result(30) for other in others] == list(range(10))
    assert ran == []
    assert alive(ext)


def test_g4_a_result_of_another_type_is_carried_by_the_error(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    thing = Thing()
    assert ext.call_int(same, 7) == 7
    with pytest.raises(gilscope.ResultError) as caught:
        ext.call_int(same, thing)
    assert isinstance(caught.value, TypeError)
    assert caught.value.value is thing
    assert isinstance(caught.value.__cause__, TypeError)
    assert alive(ext)


def test_g4_a_number_too_large_for_the_type(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    with pytest.raises(gilscope.ResultError) as caught:
        ext.call_int(same, 1 << 80)
    assert caught.value.value == 1 << 80
    assert isinstance(caught.value.__cause__, OverflowError)


def test_g5_handles_dropped_without_the_gil(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Any
) -> None:
    things = [Thing() for _ in range(100)]
    refs = [weakref.ref(thing) for thing in things]
    while things:
        ext.drop_unattached(things.pop())
    eventually(lambda: gc.collect() >= 0 and not any(ref() for ref in refs))
    assert alive(ext)


def test_g5_handles_kept_until_after_finalisation(
    ext: ModuleType, script: Callable[..., str]
) -> None:
    printed = script(
        """
        import asyncio, gilscope, threading
        gilscope.stats()
        import gilscope_test_ext as ext

        class Thing:
            pass

        async def forever(thing):
            started.set()
            await asyncio.sleep(60)

        async def give():
            return Thing()

        started = threading.Event()
        sent = ext.send("future", forever, Thing())
        kept = [ext.send("oneshot", give) for _ in range(10)]
        assert started.wait(20)
        future = gilscope.py_runtime().submit(forever, Thing())
        ext.keep_calling(give, 2)
        print("ended")
        """
    )
    assert printed == "ended\n"


def test_a12_a_call_from_a_task_inside_a_bridged_future(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    async def callee(value: int) -> int:
        assert asyncio.get_running_loop() is not None
        await asyncio.sleep(0.001)
        return await default_rt.call_async(same, value)  # type: ignore[return-value]

    async def main() -> list[Any]:
        bridged = [ext.bridged(callee, number) for number in range(5)]
        return await asyncio.gather(*bridged)

    assert asyncio.run(main()) == list(range(5))
    assert default_rt.submit(main).result(30) == list(range(5))


def test_v1_a_call_from_rust_has_a_copy_of_the_loops_context(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    async def write(value: str) -> str:
        before = VAR.get()
        VAR.set(value)
        await asyncio.sleep(0.001)
        assert VAR.get() == value
        return before

    def caller() -> None:
        VAR.set("not for Rust")
        assert ext.call(write, "one") == "default"
        assert ext.call(write, "two") == "default"
        assert ext.flood(lambda _: write("three"), 20) == ["default"] * 20
        given = contextvars.copy_context()
        assert ext.call_with(write, ("four",), context=given) == "not for Rust"
        assert given[VAR] == "four"
        assert VAR.get() == "not for Rust"

    contextvars.Context().run(caller)
