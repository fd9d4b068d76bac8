"""What a simulation says about threads, dead ends and its own end."""

from __future__ import annotations

import asyncio
import concurrent.futures
import gc
import itertools
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

import gilscope
from gilscope.simulation import Deadlock, TooManySteps, simulate

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType


async def forever() -> None:
    await asyncio.Event().wait()


def test_t1_a_deadlock_is_reported_with_the_lines_that_wait() -> None:
    async def waits_here() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        await asyncio.sleep(5)
        async with asyncio.TaskGroup() as group:
            group.create_task(waits_here(), name="the culprit")
            group.create_task(gilscope.py_runtime().call_async(forever))

    result = simulate(main, seed=3)
    assert isinstance(result.error, Deadlock)
    text = str(result.error)
    assert "at 5 s" in text
    assert "the culprit: " in text
    assert "locks.py" in text  # the innermost line
    assert result.now == 5.0
    with pytest.raises(Deadlock):
        result.value()


def test_t1_a_simulation_without_end_is_stopped() -> None:
    async def main() -> None:
        for _ in itertools.count():
            await asyncio.sleep(0)

    result = simulate(main, max_steps=500)
    assert isinstance(result.error, TooManySteps)
    assert result.steps == 500


def test_t1_entries_of_a_rust_thread_are_counted(ext: ModuleType) -> None:
    async def main() -> int:
        value: int = await ext.from_thread(7, 0.02)
        return value

    result = simulate(main, patience=20)
    assert result.value() == 7
    assert sum(result.outside.values()) >= 1
    assert set(result.outside) <= {"schedule", "post"}


def test_t1_entries_of_a_python_thread_are_counted() -> None:
    async def main() -> int:
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        thread = threading.Thread(
            target=lambda: loop.call_soon_threadsafe(future.set_result, 5), daemon=True
        )
        thread.start()
        value: int = await future
        thread.join(10)
        return value

    result = simulate(main, patience=20)
    assert (result.value(), result.outside) == (5, {"call_soon_threadsafe": 1})


def test_t1_calls_of_another_thread_are_counted_and_served() -> None:
    async def double(value: int) -> int:
        return 2 * value

    async def main() -> list[object]:
        came: list[object] = []
        done = asyncio.Event()
        loop = asyncio.get_running_loop()

        def foreign() -> None:
            came.append(gilscope.py_runtime().call(double, 21))
            loop.call_soon_threadsafe(done.set)

        thread = threading.Thread(target=foreign, daemon=True)
        thread.start()
        await done.wait()
        return came

    result = simulate(main, patience=20)
    assert result.value() == [42]
    assert result.outside["submit"] == 1


def test_t1_the_clock_stands_still_while_a_thread_works() -> None:
    def slow() -> str:
        time.sleep(0.05)
        return "done"

    async def main() -> list[object]:
        rt = gilscope.py_runtime()
        return [
            await asyncio.wait_for(asyncio.to_thread(slow), 0.01),
            await asyncio.wait_for(rt.options(thread=True).call_async(slow), 0.01),
            await asyncio.wait_for(gilscope.rust.sha256(bytes(1_000_000)), 0.000_001),
            asyncio.get_running_loop().time(),
        ]

    result = simulate(main)
    assert result.value()[:2] == ["done", "done"]
    assert result.now == 0.0
    assert result.outside


def test_t1_a_thread_that_ends_before_anybody_waits_for_it_is_counted() -> None:
    class Early(concurrent.futures.ThreadPoolExecutor):
        def submit(self, *args: Any, **kwargs: Any) -> concurrent.futures.Future[Any]:
            future = super().submit(*args, **kwargs)
            concurrent.futures.wait([future], 10)
            return future

    async def main() -> int:
        with Early(1) as pool:
            loop = asyncio.get_running_loop()
            return await loop.run_in_executor(pool, int, "5") + await loop.run_in_executor(
                pool, int
            )

    result = simulate(main)
    assert (result.value(), result.outside) == (5, {"run_in_executor": 2})


def test_t1_what_comes_after_the_end_is_refused_and_counted() -> None:
    kept: list[gilscope.PyRuntime] = []

    async def main() -> None:
        kept.append(gilscope.py_runtime())

    result = simulate(main)
    assert (result.error, result.late) == (None, 0)
    with pytest.raises(gilscope.RuntimeStopped):
        kept[0].submit(forever)
    assert result.late > 0
    assert simulate(main).late == 0


def test_t1_the_default_runtime_is_back_afterwards(default_rt: gilscope.PyRuntime) -> None:
    async def main() -> int:
        assert gilscope.py_runtime() is not default_rt
        return gilscope.py_runtime().id

    async def double(value: int) -> int:
        await asyncio.sleep(0)
        return 2 * value

    first, second = simulate(main).value(), simulate(main).value()
    assert len({first, second, default_rt.id}) == 3
    assert gilscope.py_runtime() is default_rt
    assert default_rt.options(deadline=20).call(double, 4) == 8


def test_t1_without_a_default_runtime_there_is_none_afterwards(script: Callable[..., str]) -> None:
    text = """
        import threading, gilscope
        from gilscope.simulation import simulate
        async def main():
            return gilscope.py_runtime().id
        simulated = simulate(main).value()
        assert [t.name for t in threading.enumerate()] == ["MainThread"], threading.enumerate()
        async def four(): return 4
        assert gilscope.py_runtime().id != simulated
        print(gilscope.py_runtime().call(four))
    """
    assert script(text) == "4\n"


def test_t1_what_is_left_behind_is_cancelled() -> None:
    ended: list[str] = []

    async def callee() -> None:
        try:
            await forever()
        finally:
            await gilscope.rust.sleep(0.1)
            ended.append("callee")

    async def left() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0.1)
            ended.append("task")

    kept: list[concurrent.futures.Future[None]] = []

    async def main() -> asyncio.Task[None]:
        kept.append(gilscope.py_runtime().submit(callee))
        task = asyncio.create_task(left())
        await asyncio.sleep(1)
        return task

    task = simulate(main).value()
    assert task is not None
    assert task.cancelled()
    assert sorted(ended) == ["callee", "task"]
    with pytest.raises(gilscope.CallCancelled) as raised:
        kept[0].result(timeout=10)
    assert raised.value.by == "shutdown"


def test_t1_nothing_inside_another_loop_or_simulation() -> None:
    async def empty() -> None: ...

    async def main() -> None:
        simulate(empty)

    assert "a loop is running" in str(simulate(main).error)
    with pytest.raises(RuntimeError, match="a loop is running"):
        asyncio.run(main())

    async def in_thread() -> BaseException | None:
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            return pool.submit(simulate, empty).exception(timeout=10)

    assert "another simulation" in str(simulate(in_thread).value())
    assert simulate(empty).error is None


def test_t1_bad_choices_of_schedules_are_refused() -> None:
    async def main() -> None: ...

    with pytest.raises(ValueError, match="exclude"):
        simulate(main, seed=1, choose=[])
    enabled = gc.isenabled()
    assert simulate(main, choose=[]).error is None
    assert gc.isenabled() == enabled


def test_t1_sockets_are_refused_clearly() -> None:
    async def main() -> None:
        asyncio.get_running_loop().add_reader(0, print)

    error = simulate(main).error
    assert isinstance(error, NotImplementedError)
    assert "not for files" in str(error)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (lambda: forever(), r"not a coroutine: give forever, not forever\(\)"),
        (lambda: 3, r"an async function, not 3 \(int\)"),
    ],
)
def test_what_is_no_main_is_refused(given: Callable[[], object], said: str) -> None:
    with pytest.raises(TypeError, match=said):
        simulate(given())  # type: ignore[arg-type]


@pytest.mark.parametrize("choose", [3, "01", [0, 0.5], [0, -1], [None]])
def test_what_is_no_choice_is_refused(choose: object) -> None:
    with pytest.raises(TypeError, match="choose must be a function or the choices of another run"):
        simulate(forever, choose=choose)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("given", "kind", "said"),
    [
        ({"max_steps": 0}, ValueError, "max_steps must be an integer of at least 1, not 0"),
        (
            {"max_steps": "9"},
            TypeError,
            "max_steps must be an integer of at least 1, not '9' (str)",
        ),
        (
            {"max_steps": True},
            TypeError,
            "max_steps must be an integer of at least 1, not True (bool)",
        ),
        ({"patience": -1}, ValueError, "patience must be a number of seconds from 0 on, not -1"),
        (
            {"patience": float("nan")},
            ValueError,
            "patience must be a number of seconds from 0 on, not nan",
        ),
        (
            {"patience": "1"},
            TypeError,
            "patience must be a number of seconds from 0 on, not '1' (str)",
        ),
        ({"seed": "x"}, TypeError, "seed must be an integer or None, not 'x' (str)"),
        ({"seed": 1.5}, TypeError, "seed must be an integer or None, not 1.5 (float)"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_name(
    given: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind) as raised:
        simulate(forever, **given)
    assert str(raised.value) == said


@pytest.mark.parametrize(
    ("use", "what"),
    [
        (lambda: asyncio.open_connection("localhost", 9), "sockets"),
        (lambda: asyncio.create_subprocess_exec("true"), "processes"),
        (lambda: asyncio.get_running_loop().add_reader(0, print), "files"),
        (lambda: asyncio.get_running_loop().add_signal_handler(2, print), "signals"),
    ],
)
def test_what_is_outside_is_refused_by_name(use: Callable[[], Any], what: str) -> None:
    async def main() -> None:
        await use()

    error = simulate(main).error
    assert isinstance(error, NotImplementedError)
    assert str(error) == f"a simulated loop waits for timers and tasks only, not for {what}"
