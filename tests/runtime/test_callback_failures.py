"""Callbacks that fail, vanish, or call back."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"


async def ok() -> int:
    await asyncio.sleep(0)
    return 1


async def handled(caught: list[dict[str, Any]]) -> None:
    """Collect what reaches the loop's exception handler from now on."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: caught.append(context))


def test_c3_a_closure_that_panics_is_counted_and_the_others_run(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    with gilscope.trace() as trace:
        panics = [ext.send("closure_panics", ok) for _ in range(5)]
        others = [ext.send("closure", ok) for _ in range(5)]
        assert [sent.wait() for sent in panics + others] == [[("ok", 1)]] * 10
        eventually(lambda: default_rt.stats()["callback_failed"] == 5)
        assert default_rt.call(ok) == 1
        calls = [span for span in trace.spans if span["span"] == "call"]
    assert [span.get("flags") for span in calls].count(["callback_failed"]) == 5
    assert [len(sent.arrived) for sent in panics] == [1] * 5


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit])
def test_c4_what_a_python_callback_raises_goes_to_the_handler(
    rt: gilscope.PyRuntime, eventually: Eventually, kind: type[BaseException]
) -> None:
    caught: list[dict[str, Any]] = []
    rt.call(handled, caught)
    raised = kind("from the callback")

    def callback(outcome: gilscope.Outcome[int]) -> None:
        raise raised

    with gilscope.trace() as trace:
        call = rt.submit_callback(callback, ok)
        eventually(lambda: caught)
        assert [context["exception"] for context in caught] == [raised]
        assert rt.call(ok) == 1
        spans = {span["id"]: span for span in trace.spans if span["span"] == "call"}
    assert spans.pop(f"{call:016x}")["flags"] == ["callback_failed"]
    assert [span.get("flags", []) for span in spans.values()] == [[]]
    assert rt.stats()["callback_failed"] == 1


def test_c4_the_same_for_a_python_callback_that_rust_sends(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    caught: list[dict[str, Any]] = []
    default_rt.call(handled, caught)
    ext.send("python", ok, callback=lambda outcome: outcome.no_such_name)
    eventually(lambda: caught)
    assert [type(context["exception"]) for context in caught] == [AttributeError]
    assert ext.call(ok) == 1


def test_c5_an_async_callback_is_refused_when_it_is_made(rt: gilscope.PyRuntime) -> None:
    ran: list[int] = []

    async def callback(outcome: object) -> None: ...

    with pytest.raises(TypeError, match="async function"):
        rt.submit_callback(callback, ran.append, 1)
    assert rt.call(lambda: ran) == []


def test_c5_an_async_callback_from_rust_is_refused_when_dispatched(
    ext: ModuleType, default_rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    ran: list[int] = []
    caught: list[dict[str, Any]] = []
    default_rt.call(handled, caught)

    async def callback(outcome: object) -> None: ...

    with gilscope.trace() as trace:
        sent = ext.send("python", ran.append, 1, callback=callback)
        eventually(lambda: caught)
        assert default_rt.call(ok) == 1
        eventually(lambda: len([s for s in trace.spans if s["span"] == "call"]) >= 2)
        spans = {s["id"]: s for s in trace.spans if s["span"] == "call"}
    assert ran == []
    assert [type(context["exception"]) for context in caught] == [TypeError]
    assert spans[f"{sent.id:016x}"]["status"] == "error"
    assert "TypeError" in str(spans[f"{sent.id:016x}"])
