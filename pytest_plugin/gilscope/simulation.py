"""Simulation: asyncio tasks and Rust tasks on one thread, with one chooser and one virtual clock.

    result = gilscope.simulation.simulate(main, seed=7)

runs `main` on a loop in which nothing happens by itself. Of everything that could go on next (a
step of a Python task, a step of a Rust task, the start of a call, a completion, a cancel) the
chooser picks one, and time moves only when nothing is ready, straight to the next timer of either
language. The same choices give the same trace, in every process. Threads, sockets and raw tokio
timers are outside of this: what they bring in is counted in `Simulated.outside`, and a run that has
any is not promised to replay.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import inspect
import operator
import random
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from gilscope import _native, _runtime
from gilscope._given import count, is_a, wrong
from gilscope._lanes import Chooser, Lane, Step
from gilscope._simulated_loop import Deadlock, SimulatedLoop, TooManySteps

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "Chooser",
    "Deadlock",
    "Lane",
    "Simulated",
    "SimulatedLoop",
    "Step",
    "TooManySteps",
    "simulate",
]

_T = TypeVar("_T")


@dataclass(frozen=True)
class Simulated(Generic[_T]):
    """What came of a simulation. Equal if result, trace and everything else is."""

    result: _T | None
    """What `main` returned, or None."""
    error: BaseException | None = field(compare=False)
    """What `main` raised, a `Deadlock` or `TooManySteps`; None if it returned."""
    trace: tuple[Step, ...]
    """Every step, in order."""
    now: float
    """Virtual seconds when `main` ended."""
    panics: int
    """Steps of Rust tasks that panicked."""
    outside: dict[str, int]
    """How often threads outside control came in, by the function, and were asked for by
    `run_in_executor`; empty in an exact run."""
    _entry: _native.ThreadEntry = field(compare=False, repr=False)

    @property
    def late(self) -> int:
        """How often something came in when the simulation was over, so far."""
        return self._entry.late

    @property
    def steps(self) -> int:
        """How many steps were run."""
        return len(self.trace)

    @property
    def choices(self) -> list[int]:
        """What was chosen where there was a choice: `choose` for a replay."""
        return [step.choice for step in self.trace if step.of > 1]

    @property
    def digest(self) -> str:
        """A hash of the trace, equal in every process."""
        text = "\n".join(f"{at} {what} {choice}/{of}" for at, what, choice, of in self.trace)
        return hashlib.sha256(text.encode()).hexdigest()

    def value(self) -> _T:
        """Return what `main` returned, or raise what it raised."""
        if self.error is not None:
            raise self.error
        return cast("_T", self.result)


def simulate(
    main: Callable[[], Awaitable[_T]],
    *,
    choose: Chooser | Sequence[int] | None = None,
    seed: int | None = None,
    max_steps: int = 1_000_000,
    patience: float = 0.1,
    debug: bool = False,
) -> Simulated[_T]:
    """Run `main()` in a simulation, to its end; tasks it leaves behind are then cancelled.

    `choose` picks among lanes, or is the `choices` of another run to replay, after whose end the
    first lane is picked; `seed` picks at random; without either the order is asyncio's own. Within
    it `gilscope.py_runtime()` is the simulated runtime, in every thread and extension. Garbage
    collection is off meanwhile, because finalizers are steps nobody chose.

    `patience`: real seconds to wait for threads outside control before a `Deadlock`. `max_steps`:
    how many steps may be run before a `TooManySteps`. What the chooser raises, and
    KeyboardInterrupt and SystemExit, is raised; a failure of `main` is the result's `error`.
    RuntimeError if a loop runs on this thread, or another simulation anywhere; TypeError or
    ValueError for an argument that makes no sense.
    """
    _check_main(main)
    _check_limits(seed, max_steps, patience)
    if asyncio._get_running_loop() is not None:
        raise RuntimeError("a loop is running on this thread: simulate from outside of it")
    chooser = _chooser(choose, seed)
    with _uncollected(), _default_kept():
        loop = SimulatedLoop(chooser, max_steps=max_steps, patience=patience)
        try:
            loop.set_debug(debug)
            return _run(loop, main)
        finally:
            try:
                loop.finish()
            finally:
                loop.close()


def _run(loop: SimulatedLoop, main: Callable[[], Awaitable[_T]]) -> Simulated[_T]:
    result: _T | None = None
    failed: BaseException | None = None
    coroutine = main() if inspect.iscoroutinefunction(main) else _main(main)
    task = loop.create_task(coroutine)
    try:
        result = loop.run_until_complete(task)
    except (KeyboardInterrupt, SystemExit):
        raise
    except (Deadlock, TooManySteps) as error:
        failed = error
    except BaseException as error:
        if not _ended_with(task, error):
            raise  # the chooser's
        failed = error
    return Simulated(
        result=result,
        error=failed,
        trace=tuple(loop.trace),
        now=loop.time(),
        panics=loop.simulation.panics,
        outside=loop.outside,
        _entry=loop.simulation.entry,
    )


def _ended_with(task: asyncio.Task[Any], error: BaseException) -> bool:
    if not task.done() or task.cancelled():
        return task.done() and isinstance(error, asyncio.CancelledError)
    return task.exception() is error


async def _main(main: Callable[[], Awaitable[_T]]) -> _T:
    return await main()


def _check_main(main: object) -> None:
    if inspect.iscoroutine(main):
        main.close()
        name = main.__qualname__
        raise TypeError(
            f"main must be an async function, not a coroutine: give {name}, not {name}()"
        )
    if not callable(main):
        raise TypeError(f"main must be an async function, not {main!r} ({type(main).__name__})")


def _check_limits(seed: object, max_steps: object, patience: object) -> None:
    if seed is not None and not is_a(int, seed):
        raise wrong(TypeError, "seed", "an integer or None", seed)
    count("max_steps", max_steps)
    allowed = "a number of seconds from 0 on"
    if not is_a((int, float), patience):
        raise wrong(TypeError, "patience", allowed, patience)
    if not cast("float", patience) >= 0:  # nor NaN
        raise wrong(ValueError, "patience", allowed, patience)


def _chooser(choose: Chooser | Sequence[int] | None, seed: int | None) -> Chooser:
    if choose is not None and seed is not None:
        raise ValueError("choose and seed exclude each other")
    if seed is not None:
        below = random.Random(seed).randrange
        return lambda lanes: below(len(lanes))
    if choose is None:
        return lambda lanes: 0
    if callable(choose):
        return choose
    try:
        choices = [operator.index(choice) for choice in choose]
        usable = all(choice >= 0 for choice in choices)
    except TypeError:
        usable = False
    if not usable:
        raise TypeError(
            f"choose must be a function or the choices of another run, from 0 on, not {choose!r}"
        )
    left = iter(choices)
    return lambda lanes: min(next(left, 0), len(lanes) - 1)


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextlib.contextmanager
def _default_kept() -> Iterator[None]:
    """Give `py_runtime` the object back that it had before."""
    with _runtime._default_lock:
        before = _runtime._default
    try:
        yield
    finally:
        with _runtime._default_lock:
            _runtime._default = before
