"""Other loops than asyncio's default, and its hooks."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

import gilscope

if TYPE_CHECKING:
    pass

Eventually = "Callable[[Callable[[], object]], None]"


async def thread_of_the_loop() -> int:
    await asyncio.sleep(0)
    return threading.get_ident()


async def fails() -> None:
    await asyncio.sleep(0)
    raise ValueError("no")


def eager_loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    loop.set_task_factory(asyncio.eager_task_factory)  # type: ignore[attr-defined]
    return loop


LOOPS: dict[str, dict[str, Any]] = {
    "uvloop": {"loop_factory": uvloop.new_event_loop},
    "debug": {"debug": True},
    "selector": {"loop_factory": asyncio.SelectorEventLoop},
}
if sys.version_info >= (3, 12):
    LOOPS["eager"] = {"loop_factory": eager_loop}


@pytest.mark.parametrize("kind", LOOPS)
def test_l12_the_same_on_other_loops(kind: str, gate: Any) -> None:
    with gilscope.PyRuntime(kind, **LOOPS[kind]) as rt:
        ident = rt.call(thread_of_the_loop)
        assert ident != threading.get_ident()
        with pytest.raises(ValueError, match="no"):
            rt.call(fails)

        async def children() -> list[int]:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(thread_of_the_loop()) for _ in range(5)]
            await gilscope.rust.sleep(0.001)
            return [task.result() for task in tasks]

        assert rt.call(children) == [ident] * 5
        running = rt.submit(gate)
        assert gate.started.wait(10)
        assert running.cancel()
        with pytest.raises(gilscope.CallCancelled):
            running.result(10)
        assert gate.cancelled.is_set()
        assert rt.shutdown("drain", deadline=10)["joined"]


def test_l12_a_custom_exception_handler_sees_failed_tasks(
    rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    caught: list[Any] = []

    async def orphan() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: caught.append(context["exception"]))
        task = loop.create_task(fails())
        await asyncio.wait([task])

    rt.call(orphan)
    eventually(lambda: rt.call(gc.collect) or caught)
    assert [str(error) for error in caught] == ["no"]
