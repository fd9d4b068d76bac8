"""Two libraries, two tokios, one runtime: what crosses the host table and what it refuses."""

from __future__ import annotations

import asyncio
import textwrap
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


def test_spawn_and_sleep_through_the_table(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    done = threading.Event()

    async def sleeps() -> None:
        await ext.host_sleep(0.01)
        done.set()

    ext.host_spawn(sleeps)
    assert done.wait(10)


def test_without_gilscope_it_runs_a_runtime_of_its_own(script: Script) -> None:
    code = """
    assert not ext.found

    async def where(x=0):
        await ext.host_sleep(0.001)
        return threading.current_thread().name

    print(ext.call(where), len(set(ext.race(8))), ext.flood(where, 3))

    async def fails():
        raise ValueError("no")

    try:
        ext.call(fails)
    except ValueError as error:
        print(error)
    try:
        ext.call_int(where)
    except TypeError as error:
        print(type(error).__name__)
    assert "gilscope" not in sys.modules
    """
    name = "gilscope-default"
    expected = f"{name} 1 {[name] * 3}\nno\nResultError\n"
    assert script(WITHOUT_GILSCOPE + textwrap.dedent(code)) == expected


@pytest.mark.parametrize(("version", "size"), [(99, 64), (1, 8)])
def test_another_version_is_refused_by_name(script: Script, version: int, size: int) -> None:
    code = """
    import ctypes, sys, types

    class Cell(ctypes.Structure):
        _fields_ = [("size", ctypes.c_size_t), ("version", ctypes.c_uint32),
                    ("rest", ctypes.c_void_p * 6)]

    cell, name = Cell(int(sys.argv[2]), int(sys.argv[1])), b"gilscope._native._host_cell"
    new = ctypes.pythonapi.PyCapsule_New
    new.restype, new.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    native = types.ModuleType("gilscope._native")
    native._host_cell = new(ctypes.addressof(cell), name, None)
    sys.modules["gilscope._native"] = native
    try:
        import gilscope_test_ext
    except ImportError as error:
        print(error)
    """
    said = script(code, version, size)
    assert f"version {version} of the host table" in said
    assert "this extension version 1" in said


def test_l6_after_a_fork_both_meet_at_one_fresh_runtime(script: Script) -> None:
    code = """
    import asyncio, os, sys, threading, warnings
    import gilscope

    gilscope.stats()
    import gilscope_test_ext as ext

    warnings.simplefilter("ignore", DeprecationWarning)

    async def where():
        await ext.host_sleep(0.001)
        return threading.get_ident()

    before, handle = gilscope.py_runtime().id, ext.Runtime.default()
    assert ext.call(where) == gilscope.py_runtime().call(where)
    child = os.fork()
    if child == 0:
        try:
            fresh = ext.runtime_id()  # the extension asks first
            assert fresh != before and gilscope.py_runtime().id == fresh
            assert ext.call(where) == gilscope.py_runtime().call(where)
            try:
                ext.call(where, runtime=handle)
            except gilscope.RuntimeStopped as error:
                assert "fork" in str(error), error
                print("child", flush=True)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert ext.runtime_id() == before == gilscope.py_runtime().id
    assert ext.call(where) == gilscope.py_runtime().call(where)
    print("parent")
    """
    assert script(code) == "child\nparent\n"
