"""Tools that watch code see what runs on a loop thread: coverage, tracers, debuggers, profilers."""

from __future__ import annotations

import asyncio
import bdb
import json
import os
import subprocess
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest
import sniffio

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import FrameType

    from .conftest import Bounded

PROGRAM = """\
import asyncio
import gilscope


async def child(n):
    await asyncio.sleep(0)
    return n + 1


async def body(n):
    task = asyncio.create_task(child(n))
    if n < 0:
        raise AssertionError("never run")
    await gilscope.rust.sleep(0.001)
    return await task


def plain(n):
    doubled = 2 * n
    return doubled


with gilscope.PyRuntime() as runtime:
    assert list(runtime.map(body, range(5))) == [1, 2, 3, 4, 5]
    assert runtime.call(plain, 3) == 6
    assert runtime.options(thread=True).call(plain, 4) == 8
"""


def numbers_of(text: str) -> set[int]:
    """The line numbers of PROGRAM's lines that contain `text`."""
    return {n for n, line in enumerate(PROGRAM.splitlines(), 1) if text in line}


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    return path


@pytest.mark.parametrize("core", ["ctrace", "pytrace", "sysmon"])
def test_coverage_sees_the_lines_run_on_the_loop_thread(program: Path, core: str) -> None:
    if core == "sysmon" and sys.version_info < (3, 12):
        core = "ctrace"  # there is no sys.monitoring
    folder = program.parent
    environment = {**os.environ, "COVERAGE_CORE": core, "COVERAGE_FILE": str(folder / ".coverage")}

    def coverage(*args: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "coverage", *args],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stdout + done.stderr

    coverage("run", "--include=program.py", "program.py")
    coverage("json", "-o", "report.json")
    report = json.loads((folder / "report.json").read_text())
    assert report["meta"]["branch_coverage"] is False
    missing = set(report["files"]["program.py"]["missing_lines"])
    assert missing == numbers_of("never run")


@pytest.fixture
def traced() -> Iterator[Callable[[Callable[..., Any]], None]]:
    """Install a trace function for threads to come; taken away at the end."""
    before = threading.gettrace()
    yield threading.settrace
    threading.settrace(before)  # type: ignore[arg-type]


def test_a_tracer_for_threads_sees_calls_and_lines(traced: Callable[..., None]) -> None:
    seen: set[tuple[str, str]] = set()

    async def body() -> str:
        await asyncio.sleep(0)
        return "value"

    def tracer(frame: FrameType, event: str, _: object) -> Any:
        if frame.f_code is not body.__code__:
            return None
        seen.add((event, threading.current_thread().name))
        return tracer

    traced(tracer)
    with gilscope.PyRuntime("traced") as runtime:
        assert runtime.call(body) == "value"
        name = runtime.call(threading.current_thread).name
    assert {event for event, _ in seen} >= {"call", "line", "return"}
    assert {thread for _, thread in seen} == {name}


def test_a_profiler_for_threads_sees_calls() -> None:
    seen: list[str] = []

    async def body() -> None:
        await asyncio.sleep(0)

    def profiler(frame: FrameType, event: str, _: object) -> None:
        if frame.f_code is body.__code__:
            seen.append(event)

    threading.setprofile(profiler)
    try:
        with gilscope.PyRuntime() as runtime:
            runtime.call(body)
    finally:
        threading.setprofile(None)
    assert seen == ["call", "return", "call", "return"]


class Debugger(bdb.Bdb):
    """Stops at one function, steps through it, and reads its local variables."""

    def __init__(self, line: int) -> None:
        super().__init__()
        self.line = line
        self.steps: list[int] = []
        self.values: list[dict[str, Any]] = []
        self.stacks: list[list[str]] = []

    def user_line(self, frame: FrameType) -> None:
        if frame.f_code.co_filename != __file__:
            self.set_continue()
            return
        self.steps.append(frame.f_lineno - self.line)
        self.values.append(dict(frame.f_locals))
        self.stacks.append([f.f_code.co_name for f, _ in self.get_stack(frame, None)[0]])
        self.set_next(frame)


def test_a_debugger_stops_inside_a_call(traced: Callable[..., None], call: Bounded) -> None:
    async def body(given: int) -> int:
        doubled = 2 * given
        await asyncio.sleep(0)
        return doubled

    first = body.__code__.co_firstlineno
    debugger = Debugger(first)

    async def debugged() -> int:
        debugger.reset()
        debugger.set_break(__file__, first + 1)
        sys.settrace(debugger.trace_dispatch)
        try:
            return await body(21)
        finally:
            sys.settrace(None)
            debugger.clear_all_breaks()

    assert call(debugged) == 42
    assert debugger.steps[:3] == [1, 2, 3]
    assert debugger.values[0]["given"] == 21
    assert debugger.values[1]["doubled"] == 42
    assert "body" in debugger.stacks[0]


def test_pdb_stops_at_a_breakpoint_on_the_loop_thread(tmp_path: Path) -> None:
    path = tmp_path / "stops.py"
    path.write_text(
        "import gilscope\n"
        "async def body(n):\n"
        "    doubled = 2 * n\n"
        "    breakpoint()\n"
        "    return doubled\n"
        "with gilscope.PyRuntime() as runtime:\n"
        "    print('result', runtime.call(body, 21))\n"
    )
    done = subprocess.run(
        [sys.executable, str(path)],
        input="p 'doubled is', doubled\nw\nc\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "'doubled is', 42" in done.stdout
    assert "stops.py" in done.stdout
    assert "result 42" in done.stdout


def test_the_loop_thread_is_a_thread_like_others(rt: gilscope.PyRuntime) -> None:
    thread = rt.call(threading.current_thread)
    assert thread in threading.enumerate()
    assert type(thread) is threading.Thread
    assert thread.is_alive()
    assert thread.ident == rt.call(threading.get_ident)
    assert thread is not threading.main_thread()
    frame = sys._current_frames()[thread.ident]
    assert "loop.py" in "".join(traceback.format_stack(frame))


def test_a_thread_local_is_the_loop_threads(rt: gilscope.PyRuntime) -> None:
    local = threading.local()
    local.value = "main"
    assert rt.call(getattr, local, "value", "none") == "none"
    rt.call(setattr, local, "value", "loop")
    assert rt.call(getattr, local, "value") == "loop"
    assert local.value == "main"


def test_a11_sniffio_says_asyncio_in_calls_children_and_callbacks(call: Bounded) -> None:
    async def library() -> str:
        await asyncio.sleep(0)
        return sniffio.current_async_library()

    async def body(_: int) -> list[str]:
        first = sniffio.current_async_library()
        child = await asyncio.create_task(library())
        await gilscope.rust.sleep(0.001)
        return [first, child, sniffio.current_async_library()]

    assert call.each(body, 5) == [["asyncio"] * 3] * 5
    with pytest.raises(sniffio.AsyncLibraryNotFoundError):
        sniffio.current_async_library()


def test_a12_a_call_made_inside_a_rust_awaitable_inside_a_call(call: Bounded) -> None:
    async def inner(n: int) -> tuple[int, object]:
        await gilscope.rust.sleep(0.001)
        return n + 1, asyncio.get_running_loop()

    async def outer(n: int) -> tuple[int, bool]:
        # The awaitable is a Rust future that calls `inner`: on another runtime, then on this one.
        with_other, elsewhere = await other.call_async(inner, n)
        with_this, here = await call.runtime.call_async(inner, n)
        assert with_other == with_this
        mine = asyncio.get_running_loop()
        return with_this, here is mine and elsewhere is not mine

    with gilscope.PyRuntime("other") as other:
        assert call.each(outer, 50) == [(n + 1, True) for n in range(50)]


def test_a12_a_tokio_task_inside_a_rust_awaitable_calls(call: Bounded, ext: Any) -> None:
    async def inner(n: int) -> int:
        assert asyncio.get_running_loop() is not None
        await asyncio.sleep(0)
        return n + 1

    async def outer(n: int) -> int:
        first: int = await ext.bridged(inner, n)
        second: int = await ext.bridged(inner, first)
        return second

    assert call.each(outer, 20) == [n + 2 for n in range(20)]
    assert asyncio.run(asyncio.wait_for(outer(1), 30)) == 3
