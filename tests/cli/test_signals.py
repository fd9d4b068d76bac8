"""Signals at any instant, in this process: no input that was taken is lost, and each counts."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from gilscope.cli.inputs import Generator
from gilscope.cli.interrupt import Interrupt

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

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


def interrupt_after(
    seconds: float, over: threading.Event, hung: list[float], number: signal.Signals
) -> None:
    """Interrupt this process; again and again if that does not end the run."""
    over.wait(seconds)
    os.kill(os.getpid(), number)
    while not over.wait(HANGS):
        hung.append(seconds)
        os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("kind", [Counter, Waiting])
def test_no_input_is_lost_whenever_a_signal_comes(
    kind: type[Counter], number: signal.Signals
) -> None:
    pick = random.Random(1)
    hung: list[float] = []
    read: list[object] = []
    for _ in range(RUNS):
        source, over = kind(), threading.Event()
        read.clear()
        after = pick.uniform(0.001, 0.004)
        thread = threading.Thread(target=interrupt_after, args=(after, over, hung, number))
        with Interrupt() as interrupt:
            thread.start()
            try:
                read.extend(Generator("module:name", source).read(interrupt))
            finally:
                over.set()
                thread.join()
        assert not hung
        assert interrupt.requested
        assert interrupt.code == 128 + number
        assert read == list(range(1, source.given + 1))


class Watched(Interrupt):
    """Sends a second signal before the `left`-th access to what its handlers share."""

    left = 0  # none

    def __getattribute__(self, name: str) -> Any:
        Watched._step(self, name)
        return super().__getattribute__(name)

    def __setattr__(self, name: str, value: object) -> None:
        Watched._step(self, name)
        super().__setattr__(name, value)

    def _step(self, name: str) -> None:
        if name != "left":
            self.left -= 1
            if self.left == 0:
                signal.raise_signal(signal.SIGINT)


def test_a_second_signal_counts_also_while_the_first_is_handled() -> None:
    for step in range(1, 100):
        with Watched() as interrupt:
            interrupt.left = step
            signal.raise_signal(signal.SIGINT)
            reached, interrupt.left = interrupt.left <= 0, 0
            assert interrupt.requested
            assert interrupt.again is reached, f"before access {step}"
        if not reached:
            break
    assert 5 < step < 99


@pytest.mark.parametrize("mine", [signal.SIG_IGN, lambda number, frame: None])
def test_a_sigterm_that_somebody_handles_or_ignores_stays_so(mine: Any) -> None:
    before = signal.signal(signal.SIGTERM, mine)
    try:
        with Interrupt() as interrupt:
            signal.raise_signal(signal.SIGTERM)
        assert not interrupt.requested
        assert signal.getsignal(signal.SIGTERM) is mine
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_sigterm_after_the_run_ends_the_process_as_before() -> None:
    with Interrupt():
        assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
