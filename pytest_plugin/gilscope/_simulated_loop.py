"""The event loop of `gilscope.simulation`: every step is chosen, and time is virtual."""

from __future__ import annotations

import asyncio
import bisect
import heapq
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakKeyDictionary

from gilscope import _native
from gilscope._lanes import Chooser, Lane, Step, rust_name, since, task_name, where

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Coroutine

_T = TypeVar("_T")

# Seconds from here on are never reached, and do not fit in nanoseconds.
_NEVER = float(1 << 62) / 1e9
_SLACK = 0.5e-9  # timers within half a nanosecond of the clock are due


class Deadlock(_native.GilscopeError):
    """Nothing is ready, no timer is left, and no thread brings anything in."""


class TooManySteps(_native.GilscopeError):
    """The simulation did not end within the steps it was given."""


class _Task(asyncio.Task[_T]):
    """A task whose place in a set depends on its number, not on its address."""

    def __init__(self, coro: Any, *, number: int, **options: Any) -> None:
        self.number = number
        self.lane = Lane(-number, task_name(number, coro))
        super().__init__(coro, **options)

    def __hash__(self) -> int:
        return self.number


def _refused(what: str) -> Any:
    """Return a method that refuses what is outside of a simulation."""

    def refuse(*_args: object, **_kwargs: object) -> Any:
        """Raise NotImplementedError: this is outside of a simulation."""
        raise NotImplementedError(
            f"a simulated loop waits for timers and tasks only, not for {what}"
        )

    return refuse


class SimulatedLoop(asyncio.BaseEventLoop):
    """An asyncio loop whose steps, and those of the Rust tasks on its thread, a chooser picks.

    `choose` gets the lanes that could go on, the longest waiting first, and returns an index; 0
    every time is what asyncio does. While the loop is open it is the process' default runtime.
    `close` it on the thread that made it.
    """

    add_reader = add_writer = remove_reader = remove_writer = _refused("files")
    sock_accept = sock_connect = sock_recv = sock_recv_into = _refused("sockets")
    sock_recvfrom = sock_recvfrom_into = sock_sendall = sock_sendto = sock_sendfile = sock_accept
    create_connection = create_server = create_datagram_endpoint = sock_accept
    create_unix_connection = create_unix_server = sock_accept
    connect_read_pipe = connect_write_pipe = _refused("pipes")
    subprocess_exec = subprocess_shell = _refused("processes")
    add_signal_handler = _refused("signals")

    # Of asyncio's base class.
    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _timer_cancelled_count: int

    def __init__(
        self, choose: Chooser, *, max_steps: int = 1_000_000, patience: float = 0.1
    ) -> None:
        super().__init__()
        self._clock_resolution = _SLACK
        self._at = 0  # nanoseconds
        self._now = 0.0  # the same in seconds
        self._thread = threading.get_ident()
        self.choose = choose
        self.max_steps = max_steps
        self.patience = patience
        self.trace: list[Step] = []
        self._came = 0
        self._tasks_made = 0
        self._lanes: list[Lane] = []  # those with something in them, the longest waiting first
        self._callbacks = Lane(0, "loop")
        self._others: WeakKeyDictionary[Any, Lane] = WeakKeyDictionary()
        self._rust: dict[int, Lane] = {}
        self._in_threads = 0
        self._to_threads = 0
        try:
            self.simulation = _native.Simulation(self)
        except BaseException:
            super().close()
            raise
        self._enter_from_thread = self.simulation.entry

    # --- what asyncio asks of a loop

    def time(self) -> float:
        """Return the virtual time in seconds; a simulation begins at 0."""
        return self._now

    def create_task(  # type: ignore[override]
        self, coro: Coroutine[Any, Any, _T], *, name: object = None, **options: Any
    ) -> asyncio.Task[_T]:
        """Make a task with a number of its own, by which traces name it."""
        if self.get_task_factory() is not None:
            return super().create_task(coro, name=name, **options)
        self._check_closed()  # type: ignore[attr-defined]
        self._tasks_made += 1
        number = self._tasks_made
        name = f"Task-{number}" if name is None else str(name)
        return _Task(coro, number=number, loop=self, name=name, **options)

    def run_in_executor(  # type: ignore[override]
        self, executor: Any, func: Any, *args: Any
    ) -> Any:
        """Run in a real thread; the virtual clock stands still until it is done."""
        future = super().run_in_executor(executor, func, *args)
        self._in_threads += 1
        self._to_threads += 1
        future.add_done_callback(self._left_thread)
        return future

    @property
    def outside(self) -> dict[str, int]:
        """How often threads came in, by the function, and were asked for by `run_in_executor`."""
        # One that ends before its future is looked at comes in no more.
        asked = {"run_in_executor": self._to_threads} if self._to_threads else {}
        return {**asked, **self.simulation.outside}

    def _left_thread(self, _future: object) -> None:
        self._in_threads -= 1

    def _write_to_self(self) -> None:
        # `call_soon_threadsafe` wants the loop to wake up; from its own thread there is no need.
        if threading.get_ident() != self._thread:
            self._enter_from_thread()

    def _process_events(self, event_list: object) -> None:
        """There are none."""

    def close(self) -> None:
        """Drop what is left and put the default runtime back. Idempotent."""
        if not self.is_closed():
            super().close()
            self._lanes.clear()
            self.__dict__.pop("call_soon", None)  # the recorder's, which refers to this loop
            self.simulation.close()

    # --- one step

    def _run_once(self) -> None:
        self._collect()
        while not self._lanes:
            self._wait()
            self._collect()
        if len(self.trace) >= self.max_steps:
            raise TooManySteps(f"not over after {self.max_steps:,} steps\n{self.report()}")
        lanes = self._lanes
        count = len(lanes)
        choice = self.choose(lanes) if count > 1 else 0
        if not 0 <= choice < count:
            raise IndexError(f"the chooser chose {choice} of {count} lanes")
        lane = lanes.pop(choice)
        _, item = lane.waiting.popleft()
        if lane.waiting:
            bisect.insort(lanes, lane, key=since)
        elif lane.key > 0:
            self._rust.pop(lane.key, None)
        what = self._run(lane, item)
        if what is not None:
            self.trace.append(Step(self._at, what, choice, count))

    def _run(self, lane: Lane, item: Any) -> str | None:
        """Run what a lane holds; None if there was nothing to run any more."""
        if isinstance(item, int):
            return self.simulation.run(item)
        if item._cancelled:
            return None
        what = lane.name
        if lane is self._callbacks:
            callback = item._callback
            what = f"loop {getattr(callback, '__qualname__', type(callback).__name__)}"
        try:
            item._run()
        except BaseException:
            self.trace.append(Step(self._at, what, 0, 0))
            raise
        return what

    def _collect(self) -> None:
        """Put what has come in into its lane."""
        fresh = self.simulation.settle()
        ready = self._ready
        while ready:
            handle = ready.popleft()
            if not handle._cancelled:
                self._put(self._lane_of(handle), handle)
        if fresh is not None:
            for key, entry in fresh:
                lane = self._rust.get(key)
                if lane is None:
                    lane = self._rust[key] = Lane(key, rust_name(key))
                self._put(lane, entry)
        self._collect_due()

    def _collect_due(self) -> None:
        due = self._now + _SLACK
        while (handle := self._first_timer()) is not None and handle.when() <= due:
            self._pop_timer()
            self._put(self._callbacks, handle)

    def _put(self, lane: Lane, item: asyncio.Handle | int) -> None:
        self._came += 1
        if not lane.waiting:
            self._lanes.append(lane)
        lane.waiting.append((self._came, item))

    def _lane_of(self, handle: asyncio.Handle) -> Lane:
        owner: Any = getattr(handle._callback, "__self__", None)  # type: ignore[attr-defined]
        if type(owner) is _Task:
            return owner.lane
        # Where spans are recorded, what surrounds the step of a task is between the two.
        owner = getattr(owner, "__self__", owner)
        if type(owner) is _Task:
            return owner.lane
        if not hasattr(owner, "get_coro"):
            return self._callbacks
        lane = self._others.get(owner)
        if lane is None:
            self._tasks_made += 1
            number = self._tasks_made
            lane = self._others[owner] = Lane(-number, task_name(number, owner.get_coro()))
        return lane

    # --- time

    def _first_timer(self) -> asyncio.TimerHandle | None:
        scheduled = self._scheduled
        while scheduled:
            handle: asyncio.TimerHandle = scheduled[0]
            if not handle.cancelled():
                return handle
            self._timer_cancelled_count -= 1
            self._pop_timer()
        return None

    def _timer_handle_cancelled(self, handle: asyncio.TimerHandle) -> None:
        if not handle._scheduled:  # type: ignore[attr-defined]
            return
        self._timer_cancelled_count += 1
        if self._timer_cancelled_count > 100 + len(self._scheduled) // 2:
            self._timer_cancelled_count = 0
            self._scheduled = [timer for timer in self._scheduled if not timer.cancelled()]
            heapq.heapify(self._scheduled)

    def _pop_timer(self) -> None:
        heapq.heappop(self._scheduled)._scheduled = False  # type: ignore[attr-defined]

    def _wait(self) -> None:
        """Nothing is ready: wait for threads that are at work, else move the clock."""
        if self._in_threads or self.simulation.is_blocking_outside():
            self.simulation.wait_outside(0.001)
            return
        handle, rust = self._first_timer(), self.simulation.next_timer()
        when = _NEVER if handle is None else handle.when()
        python = round(when * 1e9) if when < _NEVER else None
        if python is not None and (rust is None or python <= rust):
            # At large times a float is coarser than a nanosecond: reach the timer in any case.
            self._advance(python, when)
        elif rust is not None:
            self._advance(rust, 0.0)
        elif not self._threads_come_in():
            raise Deadlock(f"nothing is ready and no timer is left\n{self.report()}")

    def _advance(self, to: int, at_least: float) -> None:
        self.simulation.advance(to)
        self._at = self.simulation.now
        now = self._at / 1e9
        self._now = max(self._now, at_least if now + _SLACK < at_least else now)

    def _threads_come_in(self) -> bool:
        """Wait for threads outside control, in slices, so that Ctrl-C is heard."""
        end = time.monotonic() + self.patience
        while not self._ready and (left := end - time.monotonic()) > 0:
            if self.simulation.wait_outside(min(left, 0.05)):
                return True
        return bool(self._ready)

    # --- the end

    def report(self) -> str:
        """Say what is unfinished and where it waits."""
        tasks = sorted(asyncio.all_tasks(self), key=lambda task: self._number(task))
        lines = [f"  {where(task)}" for task in tasks]
        return "\n".join([f"at {self._now:.9g} s, after {len(self.trace):,} steps", *lines])

    def _number(self, task: Any) -> int:
        lane = task.lane if type(task) is _Task else self._others.get(task)
        return 1 << 62 if lane is None else -lane.key

    def finish(self, max_steps: int = 100_000) -> None:
        """Cancel what is left and run it to its end, first come first served, outside the trace.

        What does not end within `max_steps` is given up.
        """
        self.choose = lambda lanes: 0
        self.trace = []
        self.max_steps = max_steps
        self.simulation.stop()
        left = sorted(asyncio.all_tasks(self), key=self._number)
        for task in left:
            task.cancel()
        try:
            if left:
                self.run_until_complete(asyncio.gather(*left, return_exceptions=True))
            self.run_until_complete(self.shutdown_asyncgens())
        except (Deadlock, TooManySteps):
            return
