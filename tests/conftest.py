"""What every test of the runtime may use."""

from __future__ import annotations

import asyncio
import importlib
import os
import runpy
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType


@pytest.fixture(scope="session", autouse=True)
def sigint_is_heard() -> None:
    """Have child processes hear SIGINT, which a shell lets background jobs ignore."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def rt() -> Iterator[gilscope.PyRuntime]:
    """A runtime of the test's own; the test fails if it cannot be ended within 20 s."""
    runtime = gilscope.PyRuntime("test")
    yield runtime
    report = runtime.shutdown("cancel", deadline=20)
    assert report["joined"], report


@pytest.fixture(scope="session")
def ext_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder to import `gilscope_test_ext` from: built for this Python, or given prebuilt."""
    if (given := os.environ.get("GILSCOPE_TEST_EXT_DIR")) is not None:
        return Path(given)
    folder = tmp_path_factory.mktemp("ext")
    runpy.run_path(str(Path(__file__).parent / "ext" / "build.py"))["build"](folder)
    return folder


@pytest.fixture(scope="session")
def ext(ext_dir: Path) -> ModuleType:
    """A second extension module that uses the runtime; its functions are listed in tests/ext."""
    gilscope.stats()  # `discover` looks for the imported native module
    sys.path.insert(0, str(ext_dir))
    try:
        return importlib.import_module("gilscope_test_ext")
    finally:
        sys.path.remove(str(ext_dir))


@pytest.fixture
def script(ext_dir: Path, tmp_path: Path) -> Callable[..., str]:
    """Run code in a fresh process, the test extension at hand; what it printed.

    Fails the test if it takes 30 s, exits with another code than `code`, or writes to stderr.
    """

    def run(text: str, *args: object, code: int = 0) -> str:
        path = os.pathsep.join(filter(None, [str(ext_dir), os.environ.get("PYTHONPATH")]))
        done = subprocess.run(
            [sys.executable, "-c", textwrap.dedent(text), *map(str, args)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=30,
        )
        assert (done.returncode, done.stderr) == (code, ""), done
        return done.stdout

    return run


@pytest.fixture
def default_rt(ext: ModuleType) -> Iterator[gilscope.PyRuntime]:
    """The default runtime, which `ext` shares; the next test gets a fresh one."""
    runtime = gilscope.py_runtime()
    yield runtime
    report = runtime.shutdown("cancel", deadline=20)
    assert report["joined"], report


class Gate:
    """A coroutine function to call, which says when it has started and how it ended."""

    def __init__(self) -> None:
        self.started = threading.Event()
        self.cancelled = threading.Event()
        self.returned = threading.Event()
        self._open = threading.Event()

    async def __call__(self, *args: object) -> tuple[object, ...]:
        """Wait until the gate is opened, or the call cancelled; the arguments."""
        self.started.set()
        try:
            while not self._open.is_set():  # noqa: ASYNC110 - opened by another thread, in any loop
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        self.returned.set()
        return args

    def open(self) -> None:
        self._open.set()


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
def eventually() -> Callable[[Callable[[], object]], None]:
    """Wait until what the function returns is true; fail the test after 10 s."""

    def wait(true: Callable[[], object]) -> None:
        end = time.monotonic() + 10
        while not true():
            assert time.monotonic() < end, "it never came true"
            time.sleep(0.002)

    return wait


@pytest.fixture(scope="session")
def embedded() -> Any:
    """The binaries of `examples/embed`, built for this Python; see tests/embedded.py."""
    module = runpy.run_path(str(Path(__file__).parent / "embedded.py"))
    return module["Embedded"](module["build"]())
