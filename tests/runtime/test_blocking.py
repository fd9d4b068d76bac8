"""Where blocking on a call is refused, and what a full queue holds at most."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"


async def echo(x: object = 1) -> object:
    return x


def test_b2_a_million_enqueues_before_the_loop_starts(ext: ModuleType) -> None:
    release = threading.Event()

    async def on_start() -> None:
        assert release.wait(300)

    ran: list[int] = []
    runtime = ext.Runtime(queue_size=1000, on_start=on_start)
    taken, full = runtime.try_many(lambda: ran.append(1), 1_000_000)
    assert (taken, full) == (1000, 999_000)
    assert ran == []
    release.set()
    assert runtime.shutdown("drain", 30)[2]
    assert len(ran) == 1000


def test_b3_blocking_on_a_loop_thread_is_refused(
    ext: ModuleType, default_rt: gilscope.PyRuntime, rt: gilscope.PyRuntime
) -> None:
    async def inside(call: Callable[..., object]) -> object:
        return call(echo)

    for runtime in (default_rt, rt):  # its own loop, and another's
        for call in (default_rt.call, rt.call, ext.call_blocking):
            with pytest.raises(gilscope.WrongThread):
                runtime.call(inside, call)
    assert default_rt.call(echo) == rt.call(echo) == 1


def test_b3_blocking_on_a_tokio_worker_is_refused(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    with pytest.raises(gilscope.WrongThread, match="tokio"):
        ext.call_blocking_on_worker(echo)
    assert ext.call_blocking(echo) == 1
