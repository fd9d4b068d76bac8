"""An export of whose spans each is accounted for."""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from faulty import LIMIT, Faulty

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from concurrent.futures import Future

    import pytest

TOLD = "gilscope: spans are lost on their way to the collector: "
NUMBERS = re.compile(
    r"gilscope: (?P<lost>\d+) of (?P<all>\d+) spans were lost: (?P<how>[^(]+) "
    r"\((grpc|http/protobuf) to https?://[^;]+; \w.+\)\n"
)
REASONS = {
    "found the queue full": "queue_full",
    "were in requests that failed": "export_failed",
    "were rejected by the collector": "rejected",
    "were left when the time to close was over": "closed",
}
NOTHING = {"queue_full": 0, "export_failed": 0, "rejected": 0, "closed": 0}


def eventually(true: Callable[[], object], what: Callable[[], object] = lambda: "") -> None:
    """Wait until it is; a test fails after so long."""
    end = time.monotonic() + LIMIT
    while not true():
        assert time.monotonic() < end, what()
        time.sleep(0.005)


def told_once(capfd: pytest.CaptureFixture[str], export: Export | None = None) -> str:
    """The one line that was said while spans were lost; with the one at the end it is all."""
    told = capfd.readouterr().err
    first, second = two_lines(told)
    if export is not None:
        assert said_in_numbers(second) == (sum(export.lost.values()), export.recorded, export.lost)
    return first


def two_lines(told: str) -> tuple[str, str]:
    """What was said, and at the end in numbers."""
    first, second = told.splitlines(keepends=True)
    assert first.startswith(TOLD), told
    assert NUMBERS.fullmatch(second), told
    return first, second


def said_in_numbers(line: str) -> tuple[int, int, dict[str, int]]:
    """How many were lost, of how many, and by reason."""
    found = NUMBERS.fullmatch(line)
    assert found is not None, line
    said = {}
    for part in found["how"].split(", "):
        count, _, words = part.partition(" ")
        said[REASONS[words]] = int(count)
    return int(found["lost"]), int(found["all"]), {**NOTHING, **said}


def within_the_limit(work: Callable[[], object]) -> None:
    """Run it where it can be left alone if it does not end."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(LIMIT)
    assert not thread.is_alive(), "it does not end"


class Export:
    """An export that goes on, and at its end the balance of its spans."""

    def __init__(self, exporter: gilscope.instrument, rt: gilscope.PyRuntime) -> None:
        self.exporter, self.rt = exporter, rt
        self.recorded = 0
        """How many spans there were; once it is closed."""

    def call(self, calls: int) -> None:
        """Make calls, whose outcomes are all there when this returns."""
        futures: list[Future[int]] = [self.rt.submit(int) for _ in range(calls)]
        assert [future.result(LIMIT) for future in futures] == [0] * calls

    @property
    def lost(self) -> dict[str, int]:
        return self.exporter.lost

    @property
    def exported(self) -> int:
        return self.exporter.exported

    def accounted(self) -> int:
        """Spans of which it is known what became of them."""
        return self.exported + sum(self.lost.values())

    def lost_only(self, *reasons: str) -> bool:
        """Whether spans were lost, for each of these reasons and no other."""
        return {reason for reason, count in self.lost.items() if count} == set(reasons)


@contextmanager
def exporting(to: Faulty | str | None, *, close_within: float | None = None) -> Iterator[Export]:
    """Export what is done inside. At the end each span was exported, or lost for one reason."""
    url = to.url if isinstance(to, Faulty) else to
    with (
        gilscope.trace() as trace,
        gilscope.instrument(otlp=url, close_within=close_within) as exporter,
    ):
        try:
            with gilscope.PyRuntime() as rt:
                export = Export(exporter, rt)
                yield export
                assert rt.shutdown("cancel", deadline=LIMIT)["joined"]
            gilscope.stats()  # the loop's last turn as well is in the hands of both
            within_the_limit(exporter.close)
        except BaseException:
            if isinstance(to, Faulty):
                to.hold.set()  # what must not wait for it, and does, is to end
            raise
        export.recorded = len(trace.spans)
    # It may be that its thread, which is nice, is still about to count.
    eventually(
        lambda: export.accounted() >= export.recorded,
        lambda: (export.recorded, export.exported, export.lost),
    )
    assert export.accounted() == export.recorded
