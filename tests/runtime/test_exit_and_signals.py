"""Exits with live threads, signals, subinterpreters: each in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable


def test_l7_exit_with_live_tokio_threads(script: Callable[..., str]) -> None:
    code = """
    import asyncio, gilscope, threading
    gilscope.stats()
    import gilscope_test_ext as ext

    started = threading.Event()

    async def waits(seconds=3600):
        started.set()
        await asyncio.sleep(seconds)

    async def quick():
        await gilscope.rust.sleep(0)

    ext.keep_calling(quick, 8)
    ext.keep_calling(waits, 2)
    futures = [gilscope.py_runtime().submit(waits) for _ in range(5)]
    futures += [gilscope.py_runtime().submit(gilscope.rust.sleep, 3600)]
    assert started.wait(10)
    print("end")
    """
    assert script(code) == "end\n"


def test_l7_cleanup_at_exit_has_a_second(script: Callable[..., str]) -> None:
    code = """
    import asyncio, gilscope, sys, threading
    started = threading.Event()

    async def cleans_up():
        try:
            started.set()
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(0.1)
            print("cleaned up", flush=True)

    async def never_ends():
        while True:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                pass

    rt = gilscope.py_runtime()
    rt.submit(cleans_up)
    rt.submit(never_ends)
    assert started.wait(10)
    """
    assert script(code) == "cleaned up\n"


@pytest.mark.parametrize("first", ["in_main", "in_the_other"])
def test_l19_a_second_interpreter_gets_an_import_error(
    script: Callable[..., str], first: str
) -> None:
    code = """
    import gilscope, sys, textwrap
    if sys.argv[1] == "in_main":
        gilscope.stats()
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
    else:
        import _xxsubinterpreters as interpreters

    inside = '''
    import gilscope
    for name in gilscope.__all__:
        try:
            getattr(gilscope, name)
        except ImportError as error:
            print(error)
    try:
        import gilscope._native
    except ImportError as error:
        print("native", "interpreter" in str(error), flush=True)
    '''
    other = interpreters.create()
    failed = interpreters.run_string(other, textwrap.dedent(inside))
    assert failed is None, failed
    interpreters.destroy(other)

    async def one():
        return 1

    assert gilscope.py_runtime().call(one) == 1
    """
    text = "gilscope does not support subinterpreters: import it in the main interpreter\n"
    assert script(code, first) == text * len(gilscope.__all__) + "native True\n"


def test_l19_another_failure_of_the_import_is_told_as_it_is(script: Callable[..., str]) -> None:
    code = """
    import sys
    sys.modules["gilscope._native"] = None
    import gilscope
    try:
        gilscope.stats
    except ImportError as error:
        print(error)
    """
    assert script(code) == "import of gilscope._native halted; None in sys.modules\n"
