"""Whoever waits for a collector has given the GIL to others."""

from __future__ import annotations

import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from faulty import LIMIT

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from faulty import Faulty


class Counting:
    """A thread that counts whenever the GIL is free."""

    def __init__(self) -> None:
        self.count = 0
        self._ends = False
        self._thread = threading.Thread(target=self._counts)

    def _counts(self) -> None:
        while not self._ends:
            self.count += 1
            time.sleep(0.001)

    def __enter__(self) -> Counting:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._ends = True
        self._thread.join(LIMIT)


@pytest.fixture
def nobody_is_interrupted() -> Iterator[None]:
    """The GIL changes hands only where it is given up."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(100)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("nobody_is_interrupted")
def test_b4_gil_is_free_while_spans_are_flushed(faulty: Faulty) -> None:
    faulty.hold.clear()
    exporter = gilscope.instrument(otlp=faulty.url, watchdog=False)
    with gilscope.PyRuntime() as rt:
        for future in [rt.submit(int) for _ in range(50)]:
            future.result(LIMIT)
    assert faulty.reached.wait(LIMIT)
    with Counting() as thread:
        before = thread.count
        exporter.close()  # as long as it may, since nobody answers
        assert thread.count > before + 20
    assert exporter.lost["closed"] >= 350


def test_b4_gil_is_free_for_a_collector_of_the_same_process(faulty: Faulty) -> None:
    """Its threads are Python's: if any of ours kept the GIL it could take nothing."""
    exporter = gilscope.instrument(otlp=faulty.url)
    with gilscope.PyRuntime() as rt:
        for future in [rt.submit(int) for _ in range(50)]:
            future.result(LIMIT)
    exporter.close()
    assert exporter.exported == len(faulty.ids()) >= 350
