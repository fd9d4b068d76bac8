"""Signals at any instant, in this process: no input that was taken is lost, and each counts."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.cli.inputs import Generator
from gilscope.cli.interrupt import Interrupt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from types import FrameType

RUNS = 300
HANGS = 5.0  # seconds after which a run that was interrupted is taken to hang


class Counter:
    """Gives numbers without ever waiting."""

    def __init__(self) -> None:
        self.given = 0

    def __aiter__(self) -> Counter:
        return self

    async def __anext__(self) -> int:
        self.given += 1
        return self.given


class Waiting(Counter):
    """Waits before each number, as sources do."""

    def __aiter__(self) -> Any:
        return self._numbers()

    async def _numbers(self) -> AsyncIterator[int]:
        while True:
            await asyncio.sleep(0)
            self.given += 1
            yield self.given


def interrupt_after(seconds: float, over: threading.Event, hung: list[float]) -> None:
    """Interrupt this process; again and again if that does not end the run."""
    over.wait(seconds)
    os.kill(os.getpid(), signal.SIGINT)
    while not over.wait(HANGS):
        hung.append(seconds)
        os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize("kind", [Counter, Waiting])
def test_no_input_is_lost_whenever_a_signal_comes(kind: type[Counter]) -> None:
    pick = random.Random(1)
    hung: list[float] = []
    read: list[object] = []
    for _ in range(RUNS):
        source, over = kind(), threading.Event()
        read.clear()
        after = pick.uniform(0.001, 0.004)
        thread = threading.Thread(target=interrupt_after, args=(after, over, hung))
        with Interrupt() as interrupt:
            thread.start()
            try:
                read.extend(Generator("module:name", source).read(interrupt))
            finally:
                over.set()
                thread.join()
        assert not hung
        assert interrupt.requested
        assert read == list(range(1, source.given + 1))


def signal_at(step: int) -> Interrupt:
    """Two signals, the second one before the `step`-th instruction of the first one's handler."""
    left = step

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if frame.f_code.co_filename != sys.modules[Interrupt.__module__].__file__:
            return None
        frame.f_trace_opcodes = True
        if event in ("opcode", "line"):  # 3.12.1 knows no opcodes of a frame that has begun
            left -= 1
            if left == 0:
                signal.raise_signal(signal.SIGINT)
        return trace

    with Interrupt() as interrupt:
        before = sys.gettrace()
        sys.settrace(trace)
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            sys.settrace(before)
        assert interrupt.requested
        if left > 0:
            raise IndexError(step)
    return interrupt


def test_a_second_signal_counts_also_while_the_first_is_handled() -> None:
    steps = 0
    while True:
        try:
            interrupt = signal_at(steps + 1)
        except IndexError:
            break
        steps += 1
        assert interrupt.again, f"lost before instruction {steps}"
    assert steps > 5
