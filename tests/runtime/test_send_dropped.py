"""A `send` that waits for room and is dropped, for each kind of callback."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

KINDS = ["oneshot", "channel", "closure", "python", "discard"]
ROOM = 1024  # of the default runtime's queue


class Full:
    """Holds the loop and fills the queue, as often as it is asked to."""

    def __init__(self, rt: gilscope.PyRuntime) -> None:
        self.calls = rt.options(full="fail")
        self.release = threading.Event()

    def fill(self) -> list[Any]:
        release, started = threading.Event(), threading.Event()
        self.release = release

        def hold() -> None:
            started.set()
            assert release.wait(30)

        futures: list[Any] = [self.calls.submit(hold)]
        assert started.wait(10)
        futures += [self.calls.submit(int) for _ in range(ROOM)]
        with pytest.raises(gilscope.QueueFull):
            self.calls.submit(int)
        return futures


@pytest.fixture
def full(default_rt: gilscope.PyRuntime) -> Iterator[Full]:
    full = Full(default_rt)
    yield full
    full.release.set()


@pytest.mark.parametrize("kind", KINDS)
def test_c10_a_send_dropped_while_it_waits_for_room(
    ext: ModuleType, default_rt: gilscope.PyRuntime, full: Full, kind: str
) -> None:
    ran: list[int] = []
    with gilscope.trace() as trace:
        futures = full.fill()
        sent = ext.send_dropped(kind, ran.append, 1)
        if kind != "python":  # which is called on the loop thread
            arrived = sent.wait()
        full.release.set()
        arrived = sent.wait()
        for future in futures:
            future.result(10)
        default_rt.call(int)
        (span,) = [s for s in trace.spans if s["span"] == "call" and s["name"] == "dropped"]
    if kind == "discard":
        assert arrived == []
    else:
        ((how, error),) = arrived
        assert (how, type(error), error.by) == ("err", gilscope.CallCancelled, "caller")
    assert span["status"] == "cancelled_by_caller"
    assert ran == []
    assert default_rt.stats()["undelivered"] == 0
    assert default_rt.stats()["pending"] == 0

    for future in (again := full.fill()):  # as many as before: its room is there
        assert not future.cancelled()
    full.release.set()
    assert [future.result(10) for future in again] == [None, *[0] * ROOM]
    assert len(sent.arrived) == len(arrived)
    assert ran == []


@pytest.mark.parametrize("kind", KINDS)
def test_c10_a_send_dropped_before_its_first_poll_makes_no_call(
    ext: ModuleType, default_rt: gilscope.PyRuntime, kind: str
) -> None:
    ran: list[int] = []
    with gilscope.trace() as trace:
        sent = ext.send_dropped(kind, ran.append, 1, polled=False)
        assert sent.wait() == []
        assert default_rt.call(int) == 0
        assert [s for s in trace.spans if s["name"] == "dropped"] == []
    assert ran == []
