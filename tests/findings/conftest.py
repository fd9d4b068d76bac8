"""What the tests of findings share: somebody who keeps the GIL, and what is found meanwhile."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import ModuleType

LIMIT = 30  # seconds until what hangs fails its test


@pytest.fixture
def no_switches() -> Iterator[None]:
    """Nobody gives the GIL up because another wants it, only because it waits."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(LIMIT)
    yield
    sys.setswitchinterval(before)


class Preempted:
    """For how long the machine did not let some threads of this process run, in nanoseconds."""

    def __init__(self, *tids: int) -> None:
        self._tids = tids
        self._before = self._now()

    def since(self) -> int:
        """Since it was made; the threads are still there."""
        return self._now() - self._before

    def _now(self) -> int:
        stats = (Path(f"/proc/self/task/{tid}/schedstat") for tid in self._tids)
        ready = sum(int(stat.read_text().split()[1]) for stat in stats)
        # What another machine on the same processor took: of all processors, in ticks.
        stolen = int(Path("/proc/stat").read_text().split()[8])
        return ready + stolen * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


class Held:
    """A call that waits for the GIL, which a thread called "culprit" holds meanwhile."""

    def __init__(
        self,
        rt: gilscope.PyRuntime,
        ext: ModuleType,
        hold: Callable[[], Any],
        slow: float | None = None,
    ) -> None:
        self.stamps: Any = None
        self.preempted = 0
        """For how long the machine kept the two threads from running, in nanoseconds."""
        read = threading.Event()

        async def waits() -> int:
            return 1

        def culprit() -> None:
            nonlocal preempted
            preempted = Preempted(threading.get_native_id(), loop)
            ext.submit_with_gil(waits)  # the loop wakes, and has to wait
            self.stamps = hold()
            read.wait(LIMIT)

        loop, preempted = rt.call(threading.get_native_id), Preempted()
        gilscope.stats()
        watch = gilscope.instrument(otlp=False, watchdog=slow or 0.05)
        with watch, gilscope.trace() as trace:
            thread = threading.Thread(target=culprit, name="culprit")
            thread.start()
            while self.stamps is None:
                time.sleep(0.001)
                assert thread.is_alive() or self.stamps is not None
            rt.call(waits)
            self.preempted = preempted.since()
            self.findings = trace.findings
            read.set()
            thread.join(LIMIT)
        self.spans = trace.spans

    def span(self, kind: str) -> dict[str, Any]:
        """The longest span of that kind."""
        return max(
            (span for span in self.spans if span["span"] == kind), key=lambda it: it["dur_ns"]
        )

    def finding(self, name: str) -> dict[str, Any]:
        """The one finding there is, of that name."""
        assert [it["name"] for it in self.findings] == [name], self.findings
        return self.findings[0]


@pytest.fixture
def held(default_rt: gilscope.PyRuntime, ext: ModuleType, no_switches: None) -> Callable[..., Held]:
    """`slow`: from how many seconds on a wait is a finding, where not from 50 ms."""
    return lambda hold, slow=None: Held(default_rt, ext, hold, slow)


def near(measured: float, true: float) -> bool:
    """Whether a measurement is within 5 % of the truth."""
    return abs(measured - true) <= 0.05 * true
