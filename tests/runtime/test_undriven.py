"""Callers inside a tokio that stops being driven: what is ours goes on without it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"
LIMIT = 10


async def same(value: object = None) -> object:
    await asyncio.sleep(0)
    return value


def test_x6_a_deadline_passes_in_an_undriven_tokio(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any, eventually: Eventually
) -> None:
    default_rt.call(same)  # so that the deadline does not pass while the loop thread starts
    call = ext.undriven("closure", gate, deadline=0.3)
    assert gate.started.wait(LIMIT)
    eventually(lambda: call.arrived == 1)
    assert gate.cancelled.wait(LIMIT)


def test_c1_a_dropped_receiver_cancels_in_an_undriven_tokio(
    ext: ModuleType, default_rt: gilscope.PyRuntime, gate: Any, eventually: Eventually
) -> None:
    call = ext.undriven("oneshot", gate)
    assert gate.started.wait(LIMIT)
    call.drop()
    assert gate.cancelled.wait(LIMIT)
    eventually(lambda: not default_rt.in_flight())
    assert call.arrived == 0


def full(ext: ModuleType, gate: Any, eventually: Eventually) -> Any:
    """A runtime with one call running that waits, and one that fills the queue."""
    runtime = ext.Runtime(queue_size=1, max_in_flight=1)
    running = ext.send("future", gate, runtime=runtime)
    assert gate.started.wait(LIMIT)
    eventually(lambda: runtime.try_many(same, 1) == (1, 0))
    assert not running.is_done
    return runtime


@pytest.mark.parametrize("deadline", [None, 600])
def test_b1_a_caller_that_is_not_driven_keeps_no_room_from_others(
    ext: ModuleType, gate: Any, eventually: Eventually, deadline: float | None
) -> None:
    runtime, ran = full(ext, gate, eventually), []
    first = ext.undriven("future", ran.append, 1, runtime=runtime, deadline=deadline)
    others = [ext.send("future", same, i, runtime=runtime) for i in range(5)]
    assert runtime.try_many(same, 1) == (0, 1), "they wait for room"
    gate.open()
    assert [other.wait() for other in others] == [[("ok", i)] for i in range(5)]
    assert ran == [1], "its turn came before theirs"
    first.drive()
    assert first.arrived == 1
    assert runtime.shutdown("cancel", LIMIT) == (0, 0, True)


def test_b1_a_caller_that_is_not_driven_may_go_away(
    ext: ModuleType, gate: Any, eventually: Eventually
) -> None:
    runtime, ran = full(ext, gate, eventually), []
    first = ext.undriven("future", ran.append, 1, runtime=runtime)
    other = ext.send("future", same, 2, runtime=runtime)
    del first  # it leaves the line
    gate.open()
    assert other.wait() == [("ok", 2)]
    assert ran == []
    assert runtime.shutdown("cancel", LIMIT) == (0, 0, True)


def test_l18_an_asyncio_loop_inside_an_undriven_tokio_awaits_rust(
    ext: ModuleType, rt: gilscope.PyRuntime
) -> None:
    async def main() -> list[object]:
        async with asyncio.timeout(LIMIT):
            await gilscope.rust.sleep(0.001)
            awaited = await rt.call_async(same, 1)
            return [awaited, await ext.future("pending", 2)]

    def run() -> list[object]:
        return asyncio.run(main())

    assert ext.inside_undriven(run) == [1, 2]
