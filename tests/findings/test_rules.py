"""Each finding where it belongs, and nowhere else."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

from .conftest import LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType


async def waits_until(event: threading.Event) -> None:
    while not event.is_set():  # noqa: ASYNC110 - set by another thread
        await asyncio.sleep(0.001)


async def nothing() -> None:
    pass


def of(trace: gilscope.trace, name: str) -> list[dict[str, Any]]:
    return [finding for finding in trace.findings if finding["name"] == name]


def test_a_refused_call_says_that_the_queue_was_full() -> None:
    opened = threading.Event()
    with gilscope.PyRuntime("full", queue_size=1, max_in_flight=1) as rt, gilscope.trace() as trace:
        first = rt.submit(waits_until, opened)
        futures = [first]
        with contextlib.suppress(gilscope.QueueFull):
            while len(futures) < 100:  # one runs, one is queued, the next is refused
                futures.append(rt.options(full="fail").submit(nothing))
        assert len(futures) < 100
        opened.set()
        for future in futures:
            future.result(LIMIT)
        (finding,) = of(trace, "queue_full")
    assert finding["finding"] == "GS04"
    assert finding["sentence"] == f"`{__name__}.nothing` was refused: the queue was full"


def test_a_call_that_waits_for_room_says_how_long() -> None:
    begun, opened = threading.Event(), threading.Event()

    async def takes_the_loop() -> None:
        begun.set()
        await waits_until(opened)

    async def waits() -> None:
        pass

    with gilscope.PyRuntime("room", queue_size=1, max_in_flight=1) as rt, gilscope.trace() as trace:
        futures = [rt.submit(takes_the_loop)]
        assert begun.wait(LIMIT)  # it has left the queue
        # The first takes the room, so that one call waits for it. Of several each might be said: a
        # finding is news again where it is twice as bad.
        futures += [rt.submit(nothing), rt.submit(waits)]
        timer = threading.Timer(0.2, opened.set)
        timer.start()
        for future in futures:
            future.result(LIMIT)
        timer.join(LIMIT)
        found = [it for it in of(trace, "queue_full") if ".waits` " in it["sentence"]]
    (finding,) = found
    enqueue = [
        it for it in trace.spans if it["span"] == "enqueue" and it["call"] == finding["call"]
    ]
    assert [it["dur_ns"] for it in enqueue] == [finding["dur_ns"]]
    assert finding["dur_ns"] > 50_000_000
    name = f"{__name__}.{waits.__qualname__}"
    assert finding["sentence"].startswith(f"`{name}` waited ")
    assert finding["sentence"].endswith(" for room in the queue")


def test_a_call_that_is_awaited_late_did_not_wait_for_room(rt: gilscope.PyRuntime) -> None:
    async def outer() -> int:
        made = rt.call_async(nothing)
        await asyncio.sleep(0.2)
        awaited = time.time_ns()
        await made
        return awaited

    with gilscope.trace() as trace:
        awaited = rt.call(outer)
        assert of(trace, "queue_full") == []
    (call,) = (it for it in trace.spans if it["span"] == "call" and "nothing" in it["name"])
    # It begins where it is awaited; the two clocks are less than a millisecond apart.
    assert call["start_ns"] > awaited - 1_000_000


def test_a_swallowed_cancel_is_said_and_one_that_is_not_is_not(rt: gilscope.PyRuntime) -> None:
    started = threading.Event()

    async def stubborn() -> None:
        started.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.Event().wait()

    async def obeys() -> None:
        started.set()
        await asyncio.Event().wait()

    with gilscope.trace() as trace:
        for fun in (stubborn, obeys):
            started.clear()
            future = rt.submit(fun)
            assert started.wait(LIMIT)
            future.cancel()
            future.exception(LIMIT) if fun is stubborn else None
            rt.call(nothing)
    (finding,) = of(trace, "cancel_swallowed")
    assert finding["finding"] == "GS05"
    assert finding["sentence"].endswith("stubborn` was cancelled, and returned all the same")
    assert "CancelledError" in finding["hint"]


def test_a_call_that_nobody_awaits_is_said_and_one_that_was_polled_is_not(
    default_rt: gilscope.PyRuntime, ext: ModuleType, eventually: Callable[..., None]
) -> None:
    ran: list[int] = []
    begun = threading.Event()

    async def for_ever() -> None:
        begun.set()
        await asyncio.Event().wait()

    def ends() -> dict[str, str]:
        return {span["name"]: span["status"] for span in trace.spans if span["span"] == "call"}

    with gilscope.trace() as trace:
        ext.future_dropped(ran.append, 1)
        polled = ext.send("future", for_ever)
        assert begun.wait(LIMIT)
        polled.drop()
        eventually(lambda: default_rt.call(nothing) is None and len(ends()) == 3)
    assert ran == []
    (finding,) = trace.findings
    assert (finding["finding"], finding["name"]) == ("GS06", "never_awaited")
    assert finding["sentence"] == "`dropped` was called and never awaited: it did not run"
    assert sorted(ends().values()) == ["cancelled_by_caller", "never_awaited", "ok"]
    assert ends()["dropped"] == "never_awaited"


def test_without_a_watchdog_the_wait_is_said_and_not_who_held_the_gil(
    script: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GILSCOPE_WATCHDOG", "0")
    out = script(
        """
        import json, sys
        import gilscope
        gilscope.stats()
        import gilscope_test_ext as ext
        async def waits(): pass
        rt = gilscope.py_runtime()
        rt.call(waits)
        sys.setswitchinterval(30)
        with gilscope.trace() as trace:
            ext.submit_with_gil(waits)
            ext.hold_gil(0.3)
            rt.call(waits)
        print(json.dumps([trace.findings, gilscope.stats()["findings"]]))
        rt.shutdown()
        """
    )
    findings, stats = json.loads(out)
    assert [(it["finding"], it["thread"]) for it in findings] == [("GS01", findings[0]["thread"])]
    assert findings[0]["sentence"].startswith("`__main__.waits` waited ")
    assert findings[0]["sentence"].endswith(" for the GIL")
    assert "stack" not in findings[0]
    assert stats["counts"] == {"GS01": 1}
    assert stats["worst"] == [{**findings[0], "count": 1}]
    assert stats["dropped"] == 0


def test_thresholds_are_in_the_environment_and_checked(
    script: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program = """
        import sys, time
        import gilscope
        gilscope.stats()
        import gilscope_test_ext as ext
        async def waits(): pass
        rt = gilscope.py_runtime()
        rt.call(waits)
        sys.setswitchinterval(30)
        with gilscope.trace() as trace:
            ext.submit_with_gil(waits)
            ext.hold_gil(0.2)
            rt.call(waits)
        print(len(trace.findings))
        rt.shutdown()
        """
    monkeypatch.setenv("GILSCOPE_SLOW", "1000s")
    assert script(program) == "0\n"
    monkeypatch.setenv("GILSCOPE_SLOW_GIL", "20ms")
    assert script(program) == "1\n"


def test_a_threshold_that_is_no_time_is_said_in_one_line(
    script: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GILSCOPE_SLOW", "fast")
    out = script(
        """
        import os, sys, tempfile
        with tempfile.TemporaryFile() as file:
            os.dup2(file.fileno(), 2)
            import gilscope
            gilscope.stats()
            with gilscope.trace():
                pass
            file.seek(0)
            print(file.read().decode(), end="")
        """
    )
    assert out.startswith("gilscope: GILSCOPE_SLOW must be a time such as 50ms, ")
    assert out.count("\n") == 1


def test_a_file_of_lines_has_one_of_each_problem_and_function(
    default_rt: gilscope.PyRuntime, no_switches: None, ext: ModuleType, tmp_path: Path
) -> None:
    def keeps_the_gil() -> None:
        ext.submit_with_gil(nothing)
        ext.hold_gil(0.2)
        default_rt.call(nothing)

    default_rt.call(nothing)
    gilscope.stats()
    with gilscope.trace(tmp_path / "t.jsonl"):
        for _ in range(3):
            keeps_the_gil()
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    findings = [line for line in lines if "finding" in line]
    assert [it["finding"] for it in findings] == ["GS02"]
    keys = "finding name call trace runtime thread start_ns dur_ns sentence hint stack"
    assert list(findings[0]) == keys.split()
    waits = {it["call"]: it for it in lines if it.get("span") == "gil.wait"}
    assert findings[0]["dur_ns"] == waits[findings[0]["call"]]["dur_ns"]
