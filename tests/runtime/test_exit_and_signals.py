"""Exits with live threads, signals, subinterpreters: each in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

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


@pytest.mark.parametrize("in_thread", ["in_the_main_thread", "in_a_thread"])
@pytest.mark.parametrize("first", ["nothing", "import", "native"])
def test_l19_a_second_interpreter_gets_an_import_error(
    script: Callable[..., str], first: str, in_thread: str
) -> None:
    code = """
    import sys, textwrap, threading
    if sys.argv[1] != "nothing":
        import gilscope
    if sys.argv[1] == "native":
        gilscope.stats()
    if sys.version_info >= (3, 13):
        import _interpreters as interpreters
    else:
        import _xxsubinterpreters as interpreters

    inside = '''
    import sys
    for name in ("gilscope", "gilscope", "gilscope._native", "gilscope.rust"):
        try:
            __import__(name)
        except ImportError as error:
            print(error)
    print([name for name in sys.modules if "gilscope" in name or "asyncio" in name], flush=True)
    '''

    def in_another():
        other = interpreters.create()
        failed = interpreters.run_string(other, textwrap.dedent(inside))
        assert failed is None, failed
        interpreters.destroy(other)

    if sys.argv[2] == "in_a_thread":
        thread = threading.Thread(target=in_another)
        thread.start()
        thread.join(10)
    else:
        in_another()

    async def one():
        return 1

    import gilscope
    assert gilscope.py_runtime().call(one) == 1
    """
    text = "gilscope does not support subinterpreters: import it in the main interpreter\n"
    assert script(code, first, in_thread) == text * 4 + "[]\n"


def test_l19_the_main_interpreter_imports_it_in_any_thread(script: Callable[..., str]) -> None:
    code = """
    import sys, threading

    def use():
        import gilscope
        print(gilscope.stats()["calls"])

    thread = threading.Thread(target=use)
    thread.start()
    thread.join(10)
    """
    assert script(code) == "0\n"


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
