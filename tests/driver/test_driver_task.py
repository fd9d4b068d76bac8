"""The task of a call, captured by user code, is an `asyncio.Task` in every visible way.

The `roots` fixture runs coroutine functions as roots on a loop thread: `roots.run(fun, *args)`
returns the outcome, `roots.submit` a `concurrent.futures.Future`; `roots.reported` collects what
the loop's exception handler was given.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import io
import traceback
from typing import Any

import pytest

import gilscope

VAR: contextvars.ContextVar[str] = contextvars.ContextVar("VAR", default="unset")


def me() -> asyncio.Task[Any]:
    task = asyncio.current_task()
    assert task is not None
    return task


def test_identity_and_class(roots: Any) -> None:
    async def body() -> Any:
        task = me()
        await asyncio.sleep(0)
        assert me() is task
        assert task in asyncio.all_tasks()
        assert {task: 1}[task] == 1
        return task

    task = roots.run(body)
    assert isinstance(task, asyncio.Task)
    assert isinstance(task, asyncio.Future)
    assert asyncio.isfuture(task)
    assert inspect.isawaitable(task)
    assert len({task, task}) == 1
    assert task != 1
    assert type(task).__module__ == "gilscope._native"
    assert type(task).__name__ == "Task"


@pytest.mark.parametrize("naps", [0, 1])
def test_all_tasks_holds_exactly_the_pending(roots: Any, naps: int) -> None:
    async def other() -> Any:
        for _ in range(naps):
            await asyncio.sleep(0)
        assert me() in asyncio.all_tasks()
        return me()

    async def body() -> Any:
        ended = await asyncio.wrap_future(roots.submit(other))
        return ended in asyncio.all_tasks(), me() in asyncio.all_tasks()

    assert roots.run(body) == (False, True)

    async def names() -> set[str]:
        return {task.get_name() for task in asyncio.all_tasks() - {me()}}

    assert roots.run(names) == {"gilscope-root"}  # lives as long as the loop


def test_result_and_exception_after_the_end(roots: Any) -> None:
    kept: list[Any] = []

    async def pending() -> None:
        kept.append(me())
        for question in (me().result, me().exception):
            with pytest.raises(asyncio.InvalidStateError):
                question()
        await asyncio.sleep(0)

    async def fails() -> None:
        kept.append(me())
        raise ValueError("kept")

    async def cancelled() -> None:
        kept.append(me())
        raise asyncio.CancelledError("mine")

    roots.run(pending)
    error = roots.submit(fails).exception(10)
    roots.submit(cancelled).exception(10)
    finished, failed, gone = kept
    assert finished.result() is None
    assert finished.exception() is None
    assert failed.exception() is error
    lengths = []
    for _ in range(3):
        with pytest.raises(ValueError, match="kept") as caught:
            failed.result()
        lengths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert len(set(lengths)) == 1
    assert gone.cancelled() is True
    for question in (gone.result, gone.exception):
        with pytest.raises(asyncio.CancelledError):
            question()


def test_others_wait_for_the_task(roots: Any) -> None:
    async def target(shared: asyncio.Future[Any], outcome: Any) -> Any:
        shared.set_result(me())
        await asyncio.sleep(0.01)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    async def waits(outcome: Any) -> Any:
        shared = asyncio.get_running_loop().create_future()
        future = roots.submit(target, shared, outcome)
        task = await shared
        first = await asyncio.gather(task, return_exceptions=True)
        await asyncio.wait([task])
        second = await asyncio.gather(asyncio.shield(task), task, return_exceptions=True)
        await asyncio.gather(asyncio.wrap_future(future), return_exceptions=True)

        async def child() -> Any:
            return await task

        third = await asyncio.gather(asyncio.create_task(child()), return_exceptions=True)
        assert asyncio.ensure_future(task) is task
        return [*first, *second, *third]

    assert roots.run(waits, (1, 2)) == [(1, 2)] * 4
    error = ValueError("seen by all")
    assert roots.run(waits, error) == [error] * 4


def test_a_root_waits_for_a_root(roots: Any) -> None:
    async def first(shared: asyncio.Future[Any]) -> tuple[int, ...]:
        shared.set_result(me())
        await asyncio.sleep(0.01)
        return (3,)

    async def second() -> Any:
        shared = asyncio.get_running_loop().create_future()
        roots.submit(first, shared)
        task = await shared
        return await task

    assert roots.run(second) == (3,)


def test_cancelling_the_waiter_cancels_the_root(roots: Any) -> None:
    thrown: list[Any] = []

    async def first(shared: asyncio.Future[Any]) -> None:
        shared.set_result(me())
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError as error:
            thrown.append(error.args)
            raise

    async def second() -> Any:
        shared = asyncio.get_running_loop().create_future()
        future = roots.submit(first, shared)
        task = await shared

        async def child() -> None:
            await task

        waiter = asyncio.create_task(child())
        await asyncio.sleep(0)
        waiter.cancel("down")
        await asyncio.gather(waiter, return_exceptions=True)
        return task.cancelled(), future.exception(10)

    cancelled, error = roots.run(second)
    assert cancelled is True
    assert thrown == [("down",)]
    assert isinstance(error, gilscope.CallCancelled)
    assert error.by == "callee"


def test_awaiter_protocol(roots: Any) -> None:
    async def body() -> None:
        task = me()
        awaiter = task.__await__()
        assert iter(awaiter) is awaiter
        assert next(awaiter) is task
        with pytest.raises(RuntimeError, match="await wasn't used with future"):
            next(awaiter)
        task._asyncio_future_blocking = False
        with pytest.raises(ValueError, match="in"):
            awaiter.throw(ValueError("in"))
        with pytest.raises(StopIteration):
            awaiter.send(None)
        with pytest.raises(KeyError):
            task.__await__().throw(KeyError, KeyError("k"), None)
        with pytest.raises(TypeError):
            task.__await__().throw(3)
        closed = task.__await__()
        closed.close()
        with pytest.raises(StopIteration):
            next(closed)
        raise LookupError

    assert type(roots.submit(body).exception(10)) is LookupError


def test_done_callbacks(roots: Any) -> None:
    seen: list[Any] = []

    def note(task: Any) -> None:
        seen.append((task, VAR.get()))

    async def body() -> Any:
        task = me()
        context = contextvars.copy_context()
        context.run(VAR.set, "other")
        task.add_done_callback(note)
        task.add_done_callback(print)
        assert task.remove_done_callback(print) == 1
        assert task.remove_done_callback(print) == 0
        task.add_done_callback(note, context=context)
        await asyncio.sleep(0)
        VAR.set("after")
        return task

    async def later(task: Any) -> None:
        await asyncio.sleep(0)  # an outcome may be delivered before the callbacks have run
        assert len(seen) == 2
        task.add_done_callback(note)
        await asyncio.sleep(0)

    task = roots.run(body)
    roots.run(later, task)
    assert seen == [(task, "unset"), (task, "other"), (task, "unset")]


def test_remove_done_callback_may_run_python(roots: Any) -> None:
    async def body() -> Any:
        task = me()

        class Evil:
            def __call__(self, _: Any) -> None:
                ran.append(self)

            def __eq__(self, other: object) -> bool:
                task.add_done_callback(ran.append)
                return True

            __hash__ = None  # type: ignore[assignment]

        ran: list[Any] = []
        task.add_done_callback(Evil())
        removed = task.remove_done_callback(object())
        return task, removed, ran

    async def turn() -> None:
        await asyncio.sleep(0)

    task, removed, ran = roots.run(body)
    roots.run(turn)
    assert removed == 1
    assert ran == [task]


def test_names_coroutine_context_and_loop(roots: Any) -> None:
    async def body() -> Any:
        task = me()
        first = task.get_name()
        assert first
        assert task.get_name() == first
        task.set_name(5)
        assert task.get_name() == "5"
        assert task.get_coro().__name__ == "body"
        assert task.get_loop() is asyncio.get_running_loop()
        VAR.set("inside")
        if hasattr(task, "get_context"):
            assert task.get_context()[VAR] == "inside"
        await asyncio.sleep(0)
        assert VAR.get() == "inside"
        return first

    assert roots.run(body) != roots.run(body)


def test_v1_context_is_isolated_between_calls(roots: Any) -> None:
    async def body(value: str) -> tuple[str, str]:
        before = VAR.get()
        VAR.set(value)
        await asyncio.sleep(0.001)
        return before, VAR.get()

    futures = [roots.submit(body, str(n)) for n in range(20)]
    assert [future.result(10) for future in futures] == [("unset", str(n)) for n in range(20)]


def test_repr_reads_like_asyncios(roots: Any) -> None:
    async def body() -> Any:
        task = me()
        task.set_name("shown")
        running = repr(task)
        asyncio.get_running_loop().call_soon(lambda: seen.append(repr(task)))
        await asyncio.sleep(0.01)
        return task, running

    seen: list[str] = []
    task, running = roots.run(body)
    assert running.startswith("<Task pending name='shown' coro=<")
    assert "wait_for=<Future pending" in seen[0]
    assert repr(task).startswith("<Task finished name='shown' coro=<")
    assert " result=" in repr(task)


def test_repr_while_cancelling(roots: Any) -> None:
    async def body() -> str:
        me().cancel()
        return repr(me())

    async def outer() -> str:
        me().cancel()
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            return repr(me())
        return ""

    assert roots.run(outer).startswith("<Task cancelling name=")
    assert isinstance(roots.submit(body).exception(10), asyncio.CancelledError)


def test_stack(roots: Any) -> None:
    async def target(shared: asyncio.Future[Any]) -> None:
        shared.set_result(me())
        await asyncio.sleep(60)

    async def body() -> Any:
        shared = asyncio.get_running_loop().create_future()
        future = roots.submit(target, shared)
        task = await shared
        frames = task.get_stack()
        out = io.StringIO()
        task.print_stack(limit=1, file=out)
        task.cancel()
        await asyncio.gather(asyncio.wrap_future(future), return_exceptions=True)
        return [frame.f_code.co_name for frame in frames], out.getvalue()

    names, text = roots.run(body)
    assert names == ["target"]
    assert text.startswith("Stack for <Task pending")
    assert "in target" in text


def test_what_a_task_refuses(roots: Any) -> None:
    async def body() -> None:
        with pytest.raises(RuntimeError, match="Task does not support set_result operation"):
            me().set_result(1)
        with pytest.raises(RuntimeError, match="Task does not support set_exception operation"):
            me().set_exception(ValueError())
        with pytest.raises(ValueError, match="_log_traceback can only be set to False"):
            me()._log_traceback = True
        with pytest.raises(TypeError):
            type(me())()

    roots.run(body)


def test_debug_mode_keeps_the_creation_traceback(debug_roots: Any, roots: Any) -> None:
    async def body() -> Any:
        return me()._source_traceback

    assert isinstance(debug_roots.run(body), traceback.StackSummary)
    assert roots.run(body) is None


def test_stale_step_is_refused(roots: Any) -> None:
    async def body() -> Any:
        loop = asyncio.get_running_loop()
        handles: list[Any] = []
        real = loop.call_soon

        def spy(call: Any, *args: Any, **kw: Any) -> Any:
            handles.append(call)
            return real(call, *args, **kw)

        loop.call_soon = spy
        await asyncio.sleep(0)
        del loop.call_soon
        step = handles[0]
        assert step.__self__ is me()
        with pytest.raises(asyncio.InvalidStateError, match="already running"):
            step()
        return step

    step = roots.run(body)
    with pytest.raises(asyncio.InvalidStateError, match="already done"):
        step()
