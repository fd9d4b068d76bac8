"""How tasks made inside calls end: with what they raised, or by whom they were cancelled."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 30


class Bad(Exception):
    pass


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


async def raises(error: BaseException) -> None:
    await asyncio.sleep(0)
    raise error


async def for_ever() -> None:
    await asyncio.Event().wait()


async def gathers(*errors: BaseException) -> list[Any]:
    tasks = [asyncio.create_task(raises(error)) for error in errors]
    return await asyncio.gather(*tasks, return_exceptions=True)


def tasks_of(spans: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [span for span in spans if span["span"] == "task"]


def test_a_task_that_raised_says_what(rt: gilscope.PyRuntime) -> None:
    errors = [Bad("é" * 10_000), Unprintable(), BaseException("base")]
    with gilscope.trace() as trace:
        assert rt.call(gathers, *errors) == errors
        spans = tasks_of(trace.spans)
    assert [span["status"] for span in spans] == ["error"] * 3
    name = f"{__name__}.{{}}".format
    assert [span["error"] for span in spans] == [
        {"type": name("Bad"), "message": "é" * 512},
        {"type": name("Unprintable"), "message": "<its __str__ raised>"},
        {"type": "BaseException", "message": "base"},
    ]


def test_a_task_is_named_as_a_call_of_its_function_would_be(rt: gilscope.PyRuntime) -> None:
    def wrapped(name: str) -> Any:
        async def wrapper() -> None:
            await asyncio.sleep(0)

        wrapper.__qualname__ = name
        return wrapper

    async def makes() -> None:
        for name in ("one", "other"):
            await asyncio.create_task(wrapped(name)())
        with pytest.raises(Bad):
            await asyncio.create_task(raises(Bad()))

    with gilscope.trace() as trace:
        rt.call(makes)
        for name in ("one", "other"):
            rt.call(wrapped(name))
        spans = trace.spans
    tasks = [span["name"] for span in tasks_of(spans)]
    assert tasks == [f"{__name__}.{name}" for name in ("one", "other", "raises")]
    assert [span["name"] for span in spans if span["span"] == "call"][1:] == tasks[:2]


def test_a_task_that_raised_says_what_in_a_file(rt: gilscope.PyRuntime, tmp_path: Path) -> None:
    with gilscope.trace(tmp_path / "t.jsonl"), gilscope.trace(tmp_path / "t.json"):
        rt.call(gathers, Bad("no"))
    error = {"type": f"{__name__}.Bad", "message": "no"}
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert [span.get("error") for span in tasks_of(lines)] == [error]
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    begun = [event for event in events if event.get("cat") == "task" and event["ph"] == "b"]
    assert [it["args"]["error"] for it in begun if "error" in it["args"]] == [error]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_task_that_raised_an_interrupt_says_so(
    rt: gilscope.PyRuntime, error: type[BaseException]
) -> None:
    async def catches() -> None:
        with pytest.raises(error):
            await asyncio.create_task(raises(error("now")))

    with gilscope.trace() as trace:
        rt.call(catches)
        (span,) = tasks_of(trace.spans)
    assert (span["status"], span["error"]) == ("error", {"type": error.__name__, "message": "now"})


def test_looking_at_a_tasks_exception_does_not_count_as_retrieving_it(
    rt: gilscope.PyRuntime,
) -> None:
    said: list[str] = []

    async def forgets() -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: said.append(context["message"]))
        task = asyncio.create_task(raises(Bad("unseen")))
        await asyncio.wait([task])
        del task
        loop.set_exception_handler(None)

    with gilscope.trace():
        rt.call(forgets)
    assert said == ["Task exception was never retrieved"]


def test_a_task_that_its_call_cancelled_was_cancelled_by_the_callee(
    rt: gilscope.PyRuntime,
) -> None:
    async def cancels() -> None:
        task = asyncio.create_task(for_ever())
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])

    with gilscope.trace() as trace:
        rt.call(cancels)
        (span,) = tasks_of(trace.spans)
    assert (span["status"], span.get("error")) == ("cancelled_by_callee", None)


@pytest.mark.parametrize("mode", ["drain", "cancel", "abort"])
def test_a_task_that_a_shutdown_cancelled_says_so(rt: gilscope.PyRuntime, mode: str) -> None:
    started = threading.Event()

    async def leaves() -> asyncio.Task[None]:
        task = asyncio.create_task(for_ever())
        await asyncio.sleep(0)
        return task

    async def awaits() -> None:
        task = await leaves()
        started.set()
        await task

    with gilscope.trace() as trace:
        kept = rt.call(leaves)
        if mode != "drain":
            future = rt.submit(awaits)
            assert started.wait(LIMIT)
        assert rt.shutdown(mode, deadline=LIMIT)["joined"]
        if mode != "drain":
            future.exception(LIMIT)
        spans = tasks_of(trace.spans)
    assert kept.cancelled()
    by = "cancelled_by_shutdown"
    assert [span["status"] for span in spans] == [by] * (1 if mode == "drain" else 2)


class Renamed(asyncio.Task[Any]):
    def get_name(self) -> str:
        return 7  # type: ignore[return-value]


def test_a_task_that_was_given_a_name_has_it(rt: gilscope.PyRuntime) -> None:
    async def leaf(name: str | None = None) -> None:
        await asyncio.sleep(0)
        if name is not None:
            task = asyncio.current_task()
            assert task is not None
            task.set_name(name)

    async def makes() -> None:
        loop = asyncio.get_running_loop()
        await asyncio.create_task(leaf(), name="given \udc80")
        await loop.create_task(leaf(), name="by the loop")
        async with asyncio.TaskGroup() as group:
            group.create_task(leaf(), name="in a group")
        await asyncio.create_task(leaf("renamed"), name="first")
        await asyncio.create_task(leaf("Task-12"), name="first")
        await Renamed(leaf(), loop=loop)
        with pytest.raises(Bad):
            await asyncio.create_task(raises(Bad()), name="raised")

    with gilscope.trace() as trace:
        rt.call(makes)
        named = [span.get("attributes") for span in tasks_of(trace.spans)]
    names = ["given \ufffd", "by the loop", "in a group", "renamed", None, None, "raised"]
    assert named == [name and {"gilscope.task.name": name} for name in names]


def test_a_task_of_no_coroutine_has_no_name(rt: gilscope.PyRuntime) -> None:
    async def nothing() -> None:
        pass

    async def makes() -> None:
        with gilscope.PyRuntime() as other:
            await asyncio.gather(other.call_async(nothing))

    with gilscope.trace() as trace:
        rt.call(makes)
        assert [span["name"] for span in tasks_of(trace.spans)] == [None]


def test_nobody_asks_a_task_without_a_name_for_one(rt: gilscope.PyRuntime) -> None:
    asked = []

    class Asked(asyncio.Task[Any]):
        def get_name(self) -> str:
            asked.append(True)
            return super().get_name()

    async def makes() -> list[str]:
        tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(3)]
        await asyncio.wait(tasks)
        await Asked(asyncio.sleep(0), loop=asyncio.get_running_loop())
        return [task.get_name() for task in tasks]

    rt.call(makes)
    assert asked == []  # as nobody wants spans
    with gilscope.trace() as trace:
        first, second, third = (int(name.removeprefix("Task-")) for name in rt.call(makes))
        assert not any("attributes" in span for span in tasks_of(trace.spans))
        assert {span["name"] for span in tasks_of(trace.spans)} == {"asyncio.tasks.sleep"}
    assert (second, third) == (first + 1, first + 2)
    assert asked == [True]
