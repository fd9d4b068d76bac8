"""Exits with live threads, signals, subinterpreters: each in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

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


def test_l19_a_second_interpreter_gets_an_import_error(script: Callable[..., str]) -> None:
    code = """
    import gilscope, sys
    gilscope.stats()
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
    else:
        import _xxsubinterpreters as interpreters

    inside = '''
    try:
        import gilscope._native
    except ImportError as error:
        print("ImportError", "interpreter" in str(error))
    '''
    import textwrap
    other = interpreters.create()
    failed = interpreters.run_string(other, textwrap.dedent(inside))
    assert failed is None, failed
    interpreters.destroy(other)

    async def one():
        return 1

    assert gilscope.py_runtime().call(one) == 1
    """
    assert script(code) == "ImportError True\n"
