"""Without gilscope, with another version of it, and after a fork."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    Script = Callable[..., str]

WITHOUT_GILSCOPE = """
import asyncio, sys, threading
import gilscope_test_ext as ext
"""


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
    new.restype = ctypes.py_object
    new.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
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
