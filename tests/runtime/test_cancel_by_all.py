"""A drop in Rust, a cancel from Python and a shutdown meet in the same calls."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from typing import TYPE_CHECKING, Any

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

LIMIT = 30
ROUNDS = 30
EACH = 4


class Bodies:
    """Coroutines that sleep, and count how they began and how often each one cleaned up."""

    def __init__(self) -> None:
        self.started = threading.Semaphore(0)
        self.tasks: dict[int, asyncio.Task[Any]] = {}
        self.cleanups: list[int] = []
        self.ended: list[int] = []

    async def __call__(self, number: int) -> None:
        task = asyncio.current_task()
        assert task is not None
        self.tasks[number] = task
        self.started.release()
        try:
            await asyncio.sleep(LIMIT)
            self.ended.append(number)
        finally:
            self.cleanups.append(number)
            # Another cancel may come in here: asyncio raises it, as everywhere, and it ends nothing
            # that has not ended.
            await asyncio.sleep(0.002)


def one_round(ext: ModuleType, turn: int) -> None:
    rt = gilscope.py_runtime()
    bodies = Bodies()
    kinds = ["future", "oneshot", "channel", "closure"]
    sent = [ext.send(kind, bodies, i) for i, kind in enumerate(kinds)]
    dropped = [ext.send("future", bodies, len(kinds) + i) for i in range(EACH)]
    first = len(kinds) + EACH
    futures = [rt.submit(bodies, first + i) for i in range(EACH)]
    total = first + EACH
    for _ in range(total):
        assert bodies.started.acquire(timeout=LIMIT)
    ready = threading.Barrier(5)

    def drop_in_rust() -> None:
        ready.wait(LIMIT)
        for call in dropped:
            call.drop()

    def cancel_in_rust() -> list[bool]:
        ready.wait(LIMIT)
        return [call.cancel() for call in [*sent, *dropped] * 2]

    def cancel_in_python() -> list[bool]:
        ready.wait(LIMIT)
        return [future.cancel() for future in futures * 2]

    def stop() -> dict[str, Any]:
        ready.wait(LIMIT)
        return rt.shutdown("cancel", deadline=LIMIT)

    work = [drop_in_rust, cancel_in_rust, cancel_in_python, stop, stop]
    work = work[turn % 5 :] + work[: turn % 5]  # who starts first varies
    with concurrent.futures.ThreadPoolExecutor(len(work)) as pool:
        running = {pool.submit(job): job for job in work}
        reports = [done.result(2 * LIMIT) for done, job in running.items() if job is stop]
        for done in running:
            done.result(2 * LIMIT)

    assert [report["joined"] for report in reports] == [True, True]
    assert not any(call.cancel() for call in [*sent, *dropped]), "it is over for good"
    assert not any(future.cancel() for future in futures)
    errors = [future.exception(LIMIT) for future in futures]
    for call in sent:
        ((how, error),) = call.wait()  # one outcome, never two
        assert how == "err"
        errors.append(error)
    assert {type(error) for error in errors} == {gilscope.CallCancelled}
    assert {error.by for error in errors} <= {"caller", "shutdown"}  # type: ignore[union-attr]
    for call in dropped:
        assert call.closed
        assert len(call.arrived) <= 1
    assert sorted(bodies.cleanups) == list(range(total)), "each cleanup runs once"
    assert bodies.ended == []
    assert all(task.cancelled() for task in bodies.tasks.values())


def test_x5_a_drop_in_rust_a_cancel_from_python_and_a_shutdown_at_once(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    with gilscope.trace() as trace:
        for turn in range(ROUNDS):
            one_round(ext, turn)
        spans = trace.spans
    calls = [span for span in spans if span["span"] == "call" and "Bodies" in span["name"]]
    assert len(calls) == ROUNDS * (4 + 2 * EACH), "each call ends once"
    assert {call["status"] for call in calls} <= {"cancelled_by_caller", "cancelled_by_shutdown"}
