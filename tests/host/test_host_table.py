"""Two libraries, two tokios, one runtime: what crosses the host table and what it refuses."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

    Script = Callable[..., str]

WITHOUT_GILSCOPE = """
import asyncio, sys, threading
import gilscope_test_ext as ext
"""


async def where() -> str:
    await asyncio.sleep(0)
    return threading.current_thread().name


def test_the_extension_finds_the_imported_gilscope(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    assert ext.found
    assert ext.runtime_id() == default_rt.id
    assert ext.Runtime.default().id == default_rt.id


def test_its_calls_run_on_gilscopes_loop_thread(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    expected = default_rt.call(where)
    assert expected == "gilscope-default"
    assert ext.call(where) == expected
    assert ext.call_blocking(where) == expected
    assert ext.flood(where_of, 20) == [expected] * 20


async def where_of(i: int) -> str:
    return await where()


def test_its_calls_are_in_gilscopes_trace_under_their_names(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    with gilscope.trace() as trace:
        ext.call_with(where, (), name="named by the extension")
        ext.call(where)
        default_rt.call(where)
    calls = [span for span in trace.spans if span["span"] == "call"]
    assert [span["name"] for span in calls][:2] == ["named by the extension", f"{__name__}.where"]
    assert {span["thread"] for span in calls} == {"gilscope-default"}


def test_its_own_runtime_is_another(ext: ModuleType, default_rt: gilscope.PyRuntime) -> None:
    own = ext.Runtime()
    assert own.id != default_rt.id
    assert ext.call(where, runtime=own) == "gilscope-test-ext"
    assert own.shutdown("cancel", 10)[2]


def test_errors_and_outcomes_cross_as_the_same_objects(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    error, value = KeyError("the same"), object()

    async def fails() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        ext.call(fails)
    assert caught.value is error
    assert ext.call(lambda: value) is value
    with pytest.raises(gilscope.ResultError) as unfit:
        ext.call_int(lambda: value)
    assert unfit.value.value is value
    assert isinstance(unfit.value.__cause__, TypeError)


def test_e6_another_library_sees_the_callees_own_error(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    mine = asyncio.CancelledError("own")

    async def own() -> None:
        await asyncio.sleep(0)
        raise mine

    with pytest.raises(gilscope.CallCancelled) as caught:
        ext.call(own)
    assert (caught.value.by, caught.value.__cause__) == ("callee", mine)
    by, text, (kind, message, trace, cause) = ext.cancelled(own)
    assert (by, text) == ("callee", "the call was cancelled by the callee: own")
    assert (kind, message) == ("asyncio.exceptions.CancelledError", "own")
    assert "in own\n    raise mine\n" in trace
    assert cause is mine


@pytest.mark.parametrize(
    ("mode", "kind", "text"),
    [
        ("error", gilscope.ArgumentError, "a conversion's error"),
        ("panic", gilscope.RustPanic, "a conversion's panic"),
        ("drop_panics", gilscope.RustPanic, "a destructor's panic"),
        ("never_started", gilscope.DeadlineExceeded, "queued"),
    ],
)
def test_e17_misbehaving_arguments_fail_their_call_only(
    ext: ModuleType, default_rt: gilscope.PyRuntime, mode: str, kind: type[Exception], text: str
) -> None:
    ran: list[Any] = []
    with pytest.raises(kind, match=text):
        ext.call_bad_args(mode, ran.append)
    assert ran == []
    assert ext.call(where) == "gilscope-default"


def test_e16_a_panic_in_a_result_conversion_keeps_its_text(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    with pytest.raises(gilscope.RustPanic, match="a result conversion's panic"):
        ext.call_bad_result(lambda: 1)
    assert ext.call(where) == "gilscope-default"


def test_a_rust_future_of_the_extension_awaited_on_gilscopes_loop(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    async def awaits(kind: str) -> object:
        return await ext.future(kind, "came")

    assert default_rt.call(awaits, "ready") == "came"
    assert ext.call(awaits, "pending") == "came"
    with pytest.raises(gilscope.RustPanic, match="a future's panic"):
        default_rt.call(awaits, "panic_later")
    with pytest.raises(RuntimeError, match="StopIteration"):
        default_rt.call(awaits, "stop_iteration")


def test_spawn_and_sleep_through_the_table(ext: ModuleType, default_rt: gilscope.PyRuntime) -> None:
    done = threading.Event()

    async def sleeps() -> None:
        await ext.host_sleep(0.01)
        done.set()

    ext.host_spawn(sleeps)
    assert done.wait(10)
