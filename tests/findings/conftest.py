"""What the tests of findings share: somebody who keeps the GIL, and what is found meanwhile."""

from __future__ import annotations

import sys
import threading
import time
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
        read = threading.Event()

        async def waits() -> int:
            return 1

        def culprit() -> None:
            ext.submit_with_gil(waits)  # the loop wakes, and has to wait
            self.stamps = hold()
            read.wait(LIMIT)  # a thread that has left has no name any more

        rt.call(waits)  # the loop is there
        gilscope.stats()
        watch = gilscope.instrument(otlp=False, watchdog=slow or 0.05)
        with watch, gilscope.trace() as trace:
            thread = threading.Thread(target=culprit, name="culprit")
            thread.start()
            while self.stamps is None:
                time.sleep(0.001)
                assert thread.is_alive() or self.stamps is not None
            rt.call(waits)
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
