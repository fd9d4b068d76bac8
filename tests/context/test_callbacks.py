"""What runs on behalf of a call, and not in its coroutine, runs below the call's span."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry import trace
from seen import calls, chain, ids

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


class Told:
    """A callback that notes what is current in it."""

    def __init__(self) -> None:
        self.told = threading.Event()
        self.current: tuple[str, str] | None = None

    def __call__(self, outcome: gilscope.Outcome) -> None:
        span = trace.get_current_span()
        span.set_attribute("said by", "callback")
        self.current = ids(span.get_span_context())
        self.told.set()

    def wait(self) -> None:
        assert self.told.wait(60)


async def nothing() -> None:
    pass


async def fails() -> None:
    raise ValueError


def span_of(recorded: Any, name: str) -> dict[str, Any]:
    return calls(recorded.spans)[name]


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("fun", [nothing, fails])
def test_v2_a_callback_is_in_the_span_of_its_call(
    rt: gilscope.PyRuntime, fun: Callable[[], Any]
) -> None:
    told = Told()
    with gilscope.trace() as recorded:
        rt.submit_callback(told, fun)
        told.wait()
        rt.shutdown("drain")
    span = span_of(recorded, fun.__name__)
    assert told.current == (span["trace"], span["id"])
    assert span["attributes"] == {"said by": "callback"}


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("how", ["deadline", "cancel"])
def test_v2_a_callback_of_a_call_that_never_began_is_in_its_span(
    rt: gilscope.PyRuntime, how: str
) -> None:
    held, go_on = threading.Event(), threading.Event()

    async def holds() -> None:
        held.set()
        go_on.wait(60)

    told = Told()
    with gilscope.trace() as recorded:
        first = rt.submit(holds)
        assert held.wait(60)
        if how == "deadline":
            rt.options(deadline=0).submit_callback(told, nothing)
        else:
            rt.submit_callback(told, nothing)
            stop = threading.Thread(target=rt.shutdown, args=("cancel", 20))
            stop.start()
            while not rt.is_stopped:
                pass
        go_on.set()
        told.wait()
        if how == "deadline":
            first.result(60)
        else:
            stop.join(60)
        rt.shutdown("drain")
    span = span_of(recorded, "nothing")
    assert told.current == (span["trace"], span["id"])


@pytest.mark.usefixtures("exported")
def test_v2_a_function_in_a_thread_is_in_the_span_of_its_call(rt: gilscope.PyRuntime) -> None:
    def blocking() -> tuple[str, str]:
        span = trace.get_current_span()
        span.set_attribute("said by", threading.current_thread() is threading.main_thread())
        return ids(span.get_span_context())

    with gilscope.trace() as recorded:
        current = rt.options(thread=True).call(blocking)
    span = span_of(recorded, "blocking")
    assert current == (span["trace"], span["id"])
    assert span["attributes"] == {"said by": False}


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize("fun", [nothing, fails])
def test_v2_what_a_rust_closure_calls_is_below_the_call_whose_outcome_it_got(
    ext: ModuleType, fun: Callable[[], Any]
) -> None:
    called = threading.Event()

    async def after() -> None:
        called.set()

    with gilscope.trace() as recorded:
        sent = ext.send("closure_calls", fun, callback=after)
        sent.wait()
        assert called.wait(60)
        gilscope.py_runtime().call(pow, 1, 1)  # behind it, so that its span is there
    spans = [span for span in recorded.spans if span["span"] == "call"]
    assert chain(spans, "after") == ["after", fun.__name__]
