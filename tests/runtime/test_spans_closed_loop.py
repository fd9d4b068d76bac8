"""Spans of calls whose loop is stopped or closed under the runtime: each ends, with a status."""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope
from gilscope import _native

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"
LIMIT = 10


async def same(value: object = None) -> object:
    await asyncio.sleep(0)
    return value


async def for_ever() -> None:
    await asyncio.Event().wait()


async def with_children() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(for_ever())
        group.create_task(for_ever())


def close_now() -> None:
    """Close the running loop, as soon as it has been left by `loop.stop()`."""
    loop = asyncio.get_running_loop()
    loop.call_soon(loop.stop)
    loop.run_until_complete = lambda _: loop.close()  # type: ignore[assignment, return-value]


class Closes:
    """Holds the loop until it is told to let go, then closes it, and returns or waits."""

    def __init__(self, *, returns: bool) -> None:
        self.started, self.release, self.returns = threading.Event(), threading.Event(), returns

    async def __call__(self) -> int:
        self.started.set()
        assert self.release.wait(60)
        close_now()
        if not self.returns:
            await asyncio.sleep(60)
        return 1


async def stops() -> int:
    asyncio.get_running_loop().stop()
    await asyncio.sleep(0.001)
    return 1


def calls_of(trace: gilscope.trace) -> list[dict[str, Any]]:
    return [span for span in trace.spans if span["span"] == "call"]


def check_all_ended(trace: gilscope.trace, number: int, incomplete: int) -> list[str]:
    """Every call has exactly one span, with a status, and nothing is open; the statuses."""
    spans = calls_of(trace)
    assert len({span["id"] for span in spans}) == len(spans) == number
    assert all(span["dur_ns"] >= 0 for span in spans)
    assert _native.in_flight() == []
    assert gilscope.stats()["incomplete"] == incomplete
    tasks = [span for span in trace.spans if span["span"] == "task"]
    assert {task["call"] for task in tasks} <= {span["id"] for span in spans}
    return sorted(span["status"] for span in spans)


@pytest.fixture
def incomplete() -> int:
    count: int = gilscope.stats()["incomplete"]
    return count


def test_o6_a_loop_closed_by_a_callee_ends_every_span(
    ext: ModuleType, gate: Any, unraisable: list[Any], eventually: Eventually, incomplete: int
) -> None:
    with gilscope.trace() as trace:
        rt = gilscope.PyRuntime("closed", max_in_flight=4, queue_size=3)
        waiting = rt.submit(gate)
        assert gate.started.wait(LIMIT)
        expiring = rt.options(deadline=600)
        running = [waiting, rt.submit(with_children), expiring.submit(for_ever)]
        eventually(lambda: len([r for r in rt.in_flight() if r["phase"] == "suspended"]) == 5)
        told: list[Any] = []
        closes = Closes(returns=False)
        rt.submit_callback(told.append, closes)
        assert closes.started.wait(LIMIT)
        # Three that no longer start, and two that wait for room.
        queued = [rt.submit(same, i) for i in range(5)]
        closes.release.set()
        for future in (*running, *queued):
            error = future.exception(LIMIT)
            assert type(error) is gilscope.RuntimeStopped, error
            assert "closed" in str(error)
        eventually(lambda: told)
        with pytest.raises(gilscope.RuntimeStopped, match="closed"):
            rt.call(same)
        eventually(lambda: len(calls_of(trace)) == 10)
        statuses = check_all_ended(trace, 10, incomplete)
        tasks = [span for span in trace.spans if span["span"] == "task"]
    assert statuses == ["stopped"] * 10
    assert len(tasks) == 2
    assert unraisable == []


def test_o6_a_call_that_ends_as_it_closes_the_loop_keeps_its_result(
    gate: Any, unraisable: list[Any], eventually: Eventually, incomplete: int
) -> None:
    with gilscope.trace() as trace:
        rt = gilscope.PyRuntime("closed", max_in_flight=2)
        waiting = rt.submit(gate)
        assert gate.started.wait(LIMIT)
        closes = Closes(returns=True)
        closing = rt.submit(closes)
        assert closes.started.wait(LIMIT)
        queued = rt.submit(same, 1)
        closes.release.set()
        assert closing.result(LIMIT) == 1
        assert type(waiting.exception(LIMIT)) is gilscope.RuntimeStopped
        ended = queued.exception(LIMIT)
        assert ended is None or type(ended) is gilscope.RuntimeStopped
        eventually(lambda: len(calls_of(trace)) == 3)
        statuses = check_all_ended(trace, 3, incomplete)
    assert statuses == sorted(["ok", "stopped", "ok" if ended is None else "stopped"])
    assert unraisable == []


def test_o6_a_loop_that_closes_itself_when_it_is_left(
    gate: Any, unraisable: list[Any], eventually: Eventually, incomplete: int
) -> None:
    class ClosesItself(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            try:
                super().run_forever()
            finally:
                self.close()

    with gilscope.trace() as trace:
        rt = gilscope.PyRuntime("closed", loop_factory=ClosesItself, max_in_flight=2)
        running = rt.submit(gate)
        assert gate.started.wait(LIMIT)
        closes = Closes(returns=False)
        stopping = rt.submit(closes)
        assert closes.started.wait(LIMIT)
        queued = rt.submit(same)
        closes.release.set()
        for future in (running, stopping, queued):
            assert type(future.exception(LIMIT)) is gilscope.RuntimeStopped
        eventually(lambda: len(calls_of(trace)) == 3)
        statuses = check_all_ended(trace, 3, incomplete)
    assert statuses == ["stopped"] * 3
    assert unraisable == []


def test_o6_a_stopped_loop_goes_on_and_so_do_its_spans(
    rt: gilscope.PyRuntime, gate: Any, eventually: Eventually, incomplete: int
) -> None:
    with gilscope.trace() as trace:
        waiting = rt.submit(gate)
        assert gate.started.wait(LIMIT)
        assert [rt.call(stops) for _ in range(3)] == [1] * 3
        gate.open()
        assert waiting.result(LIMIT) == ()
        eventually(lambda: len(calls_of(trace)) == 4)
        assert check_all_ended(trace, 4, incomplete) == ["ok"] * 4


def hook(how: str, started: threading.Event, release: threading.Event) -> Callable[[], Any]:
    async def on_start() -> None:
        started.set()
        assert await asyncio.to_thread(release.wait, 60)
        if how == "stop":
            await stops()
        elif how == "close":
            asyncio.get_running_loop().close()  # which asyncio refuses
        elif how == "really":
            close_now()
            await asyncio.sleep(60)

    return on_start


@pytest.mark.parametrize("how", ["stop", "close", "really"])
def test_o6_a_loop_stopped_or_closed_by_the_start_hook(
    unraisable: list[Any], eventually: Eventually, incomplete: int, how: str
) -> None:
    started, release = threading.Event(), threading.Event()
    with gilscope.trace() as trace:
        rt = gilscope.PyRuntime("hook", queue_size=3, on_start=hook(how, started, release))
        assert started.wait(LIMIT)
        # Three in the queue, two that wait for room, one with a deadline that passes meanwhile.
        late = rt.options(deadline=0.02).submit(same)
        assert type(late.exception(LIMIT)) is gilscope.DeadlineExceeded
        calls = [rt.submit(same, i) for i in range(5)]
        release.set()
        if how == "stop":
            assert [call.result(LIMIT) for call in calls] == list(range(5))
        else:
            assert {type(call.exception(LIMIT)) for call in calls} == {gilscope.RuntimeStopped}
            eventually(lambda: rt.is_stopped)
            with pytest.raises(gilscope.RuntimeStopped):
                rt.call(same)
        number = 6 if how == "stop" else 7
        eventually(lambda: len(calls_of(trace)) == number)
        statuses = check_all_ended(trace, number, incomplete)
        rt.shutdown("cancel", deadline=LIMIT)
    expected = ["ok"] * 5 if how == "stop" else ["stopped"] * 6
    assert statuses == sorted(["deadline", *expected])
    # A hook that raises is told of; one that closes the loop has nobody to be told.
    assert [kind for kind, _ in unraisable] == ([RuntimeError] if how == "close" else [])
