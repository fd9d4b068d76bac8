"""A task object whose call ended in its first step serves the next call, unless somebody can tell.

`roots` is described in test_driver_life.py.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any


def me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


async def address() -> int:
    return id(me())


def test_the_next_call_has_the_task_object_of_an_ended_one(roots: Any) -> None:
    assert roots.run(address) == roots.run(address)


def test_a_task_that_is_kept_stays_what_it_was(roots: Any) -> None:
    async def keep(value: int) -> Any:
        return me(), value

    first, _ = roots.run(keep, 1)
    second, _ = roots.run(keep, 2)
    assert first is not second
    assert [first.result()[1], second.result()[1]] == [1, 2]


def test_a_weak_reference_does_not_lead_to_the_next_call(roots: Any) -> None:
    async def known() -> Any:
        return weakref.ref(me())

    async def others(reference: weakref.ref[Any]) -> bool:
        return reference() is me()

    reference = roots.run(known)
    assert roots.run(others, reference) is False
    assert reference() is None


def test_attributes_are_those_of_one_call(roots: Any) -> None:
    async def mark() -> None:
        me().note = "mine"  # type: ignore[attr-defined]

    async def keep_dict() -> dict[str, Any]:
        return vars(me())

    async def note() -> Any:
        return getattr(me(), "note", None), vars(me())

    roots.run(mark)
    assert roots.run(note) == (None, {})
    kept = roots.run(keep_dict)
    kept["note"] = "theirs"
    assert roots.run(note) == (None, {})


def test_name_cancellations_and_outcome_are_those_of_one_call(roots: Any) -> None:
    async def leave_traces() -> int:
        task = me()
        task.set_name("traces")
        task.cancel()
        task.cancel()
        task.uncancel()
        return id(task)

    async def find_traces() -> Any:
        task = me()
        private = [getattr(task, name) for name in ("_must_cancel", "_exception", "_result")]
        return task.get_name(), task.cancelling(), task.cancelled(), private, id(task)

    future = roots.submit(leave_traces)
    assert isinstance(future.exception(10), asyncio.CancelledError)
    name, cancelling, cancelled, private, _ = roots.run(find_traces)
    assert name != "traces"
    assert (cancelling, cancelled, private) == (0, False, [False, None, None])


def test_a_spare_task_keeps_nothing_alive(roots: Any) -> None:
    class Value:
        pass

    async def make() -> Any:
        value = Value()
        return value

    async def fail(value: Any) -> None:
        raise ValueError(value)

    value = roots.run(make)
    error = roots.submit(fail, value).exception(10)
    died = weakref.ref(value)
    del value, error
    gc.collect()
    assert died() is None


def test_a_spare_task_that_somebody_found_is_not_used(roots: Any) -> None:
    used = roots.run(address)
    found = [task for task in gc.get_objects() if id(task) == used]
    assert len(found) == 1
    assert found[0].done()
    assert roots.run(address) != used
    assert found[0].done()


def test_a_task_that_suspended_is_not_kept(roots: Any) -> None:
    async def suspended() -> weakref.ref[Any]:
        await asyncio.sleep(0)
        return weakref.ref(me())

    assert roots.run(suspended)() is None
