"""`gilscope.PyRuntime`: async Python on a loop thread of its own, called through Rust."""

from __future__ import annotations

import collections
import concurrent.futures
import enum
import functools
import os
import threading
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Self, TypeVar, overload

from gilscope import _native
from gilscope._given import count

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterable,
        Iterator,
    )
    from contextvars import Context
    from types import TracebackType

_P = ParamSpec("_P")
_T = TypeVar("_T")
_A = TypeVar("_A")

_FINISHED = "FINISHED"  # the state of a concurrent.futures.Future that has its outcome


class CallFuture(concurrent.futures.Future[_T]):
    """The future of a submitted call; `cancel` also works while the call runs.

    In a forked child, a future from before the fork that had no outcome yet is done, cannot be
    cancelled, and has `RuntimeStopped` as its outcome. Its callbacks do not run there.
    """

    _handle: _native.CallHandle

    def cancel(self) -> bool:
        """Ask to cancel; False if the outcome was settled already.

        A call that has not started never runs; a running one gets `CancelledError` at its await
        and may still return. `result()` raises `CallCancelled` if the cancel took effect.
        """
        return self._handle.cancel()

    def done(self) -> bool:
        """Return whether the outcome is there, or will never be: after a fork, in the child."""
        return self._handle.forked or super().done()

    def running(self) -> bool:
        """Return whether the outcome is still to come."""
        return not self._handle.forked and super().running()

    if TYPE_CHECKING:

        def result(self, timeout: float | None = None) -> _T: ...

    else:

        @property
        def result(self):
            """`result(timeout=None)`: wait for the outcome; return the value or raise the error.

            Where waiting would deadlock or never end it raises at once, if the outcome is not
            there: `WrongThread` on a loop thread, as `call` does (`timeout=0` does not wait),
            `RuntimeStopped` in a forked child.
            """
            # Native code: what a call raised gets no frame of this module.
            return functools.partial(_native.result_of, self, super().result)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait as `result` does; return the exception, or None."""
        return self._exception if self._is_settled(timeout) else super().exception(timeout)

    def _is_settled(self, timeout: float | None) -> bool:
        """Whether the outcome is there; raise where it must not be waited for.

        Without the lock, which in a forked child nobody may be there to give back.
        """
        if self._state == _FINISHED:
            return True
        self._handle.check_wait(timeout is None or timeout > 0)
        return False

    def _settle(self, outcome: _native.Outcome[_T]) -> None:
        error = outcome.exception()
        if error is None:
            self.set_result(outcome.result())
        else:
            self.set_exception(error)


class _Same(enum.Enum):
    """In the place of an option that is not given."""

    SAME = "same"

    def __repr__(self) -> str:
        return "<as it was>"


_SAME = _Same.SAME


class Calls:
    """The ways to call, with one set of options."""

    def __init__(self, runtime: _native.Runtime, given: dict[str, Any]) -> None:
        self._runtime = runtime
        self._given = given
        self._options = _native.CallOptions(**given)

    def options(
        self,
        *,
        name: str | _Same | None = _SAME,
        deadline: float | _Same | None = _SAME,
        context: Context | _Same | None = _SAME,
        parent: str | _Same | None = _SAME,
        tracestate: str | _Same | None = _SAME,
        on_drop: Literal["cancel", "detach"] | _Same = _SAME,
        full: Literal["wait", "fail"] | _Same = _SAME,
        thread: bool | _Same = _SAME,
    ) -> Calls:
        """Return the same ways to call, with options; those not given stay as they were.

        `name` is what the call's spans carry, by default the function's. `deadline`: seconds until
        `DeadlineExceeded`, waiting for room included; zero or less fails at once, infinity is none,
        as None is. `context` is used as it is; by default a copy of the caller's. While somebody
        else is in it, a call that has begun waits, and one that begins fails with RuntimeError.
        `parent` is the span of another process that the call is below, as the header
        `traceparent` has it, with the `tracestate` of the same request; by default the span that is
        current here, see docs/context.md. A `tracestate` without a `parent` means nothing, and
        another `parent` has none of its own.
        `on_drop`: "cancel", or "detach" to let the call run on when an `await` of it is cancelled.
        `full`: "wait" for room, or "fail" with `QueueFull`. `thread`: run a blocking function in
        the runtime's pool. What they mean for a stream is said there.

        Raises TypeError or ValueError for a value that makes no sense, before any call.
        """
        given = {
            "name": name,
            "deadline": deadline,
            "context": context,
            "parent": parent,
            "tracestate": None if tracestate is _SAME and parent is not _SAME else tracestate,
            "on_drop": on_drop,
            "full": full,
            "thread": thread,
        }
        given = {option: value for option, value in given.items() if value is not _SAME}
        return Calls(self._runtime, {**self._given, **given})

    @overload
    def call_async(
        self, fun: Callable[_P, Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, _T]: ...
    @overload
    def call_async(
        self, fun: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, _T]: ...
    def call_async(self, fun: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Return an awaitable of the call's result, for any asyncio loop.

        Lazy: nothing happens before it is awaited. Cancelling the awaiting task cancels the call
        and waits for its outcome, as awaiting a task does.
        """
        return self._runtime._call_async(self._options, fun, args, kwargs)

    @overload
    def submit(
        self, fun: Callable[_P, Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> CallFuture[_T]: ...
    @overload
    def submit(
        self, fun: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> CallFuture[_T]: ...
    def submit(self, fun: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Submit the call and return a `concurrent.futures.Future`. Never blocks.

        If the queue is full the call waits for room, in order; with `full="fail"` it raises
        `QueueFull`. At most 65,536 calls that nobody is known to wait for, those of `submit` and
        `submit_callback`, wait for room in a runtime, about 2.6 kB each; beyond that `QueueFull`
        is raised, too. Raises `RuntimeStopped` after a shutdown.

        On a loop thread, where waiting would deadlock, `result()` and `exception()` raise
        `WrongThread` unless the call has ended. `concurrent.futures.wait` and `as_completed`
        cannot know: there they hang.
        """
        return self._future(fun, args, kwargs)

    def _future(
        self,
        fun: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any] | None = None,
        waits: bool = False,
    ) -> CallFuture[Any]:
        """`submit`; `waits`: who calls this has a bound of its own and waits for its futures."""
        future: CallFuture[Any] = CallFuture()
        future.set_running_or_notify_cancel()
        settle, submit = future._settle, self._runtime._submit
        future._handle = submit(self._options, settle, fun, args, kwargs, waits)
        return future

    @overload
    def submit_callback(
        self,
        callback: Callable[[_native.Outcome[_T]], object],
        fun: Callable[_P, Awaitable[_T]],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> int: ...
    @overload
    def submit_callback(
        self,
        callback: Callable[[_native.Outcome[_T]], object],
        fun: Callable[_P, _T],
        /,
        *args: _P.args,
        **kwargs: _P.kwargs,
    ) -> int: ...
    def submit_callback(
        self, callback: Callable[..., object], fun: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> int:
        """Submit the call; `callback(outcome)` runs on the loop thread, in the call's Context.

        Returns the call's id. Raises TypeError for an `async def` callback. What the callback
        raises goes to the loop's exception handler. A full queue is as in `submit`.
        """
        _native.refuse_async(callback)
        return self._runtime._submit_callback(self._options, callback, fun, args, kwargs).id

    if TYPE_CHECKING:

        @overload
        def call(
            self, fun: Callable[_P, Awaitable[_T]], /, *args: _P.args, **kwargs: _P.kwargs
        ) -> _T: ...
        @overload
        def call(self, fun: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> _T: ...
        def call(self, fun: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any: ...

    else:

        @property
        def call(self):
            """`call(fun, /, *args, **kwargs)`: call and wait for the result, without the GIL.

            In the main thread a signal whose handler raises, such as Ctrl-C, cancels the call.
            Raises `WrongThread` on a loop thread, where waiting would deadlock.
            """
            # Native code all the way: what a call raises gets no frame of this module.
            return functools.partial(self._runtime._call, self._options)

    @overload
    def map(
        self, fun: Callable[[_A], Awaitable[_T]], iterable: Iterable[_A], *, concurrency: int = 64
    ) -> Iterator[_T]: ...
    @overload
    def map(
        self, fun: Callable[[_A], _T], iterable: Iterable[_A], *, concurrency: int = 64
    ) -> Iterator[_T]: ...
    def map(
        self, fun: Callable[[Any], Any], iterable: Iterable[Any], *, concurrency: int = 64
    ) -> Iterator[Any]:
        """Call `fun` for each item, at most `concurrency` at once; yield results in order.

        The first exception is raised at its place; what is then still running is cancelled, as it
        is when the iterator is closed. The first step raises `WrongThread` on a loop thread.
        """
        count("concurrency", concurrency)
        return _native.Results(self._map(fun, iterable, concurrency))

    def _map(
        self, fun: Callable[[Any], Any], iterable: Iterable[Any], concurrency: int
    ) -> Generator[CallFuture[Any], None, None]:
        """Yield each future when its result is to be waited for; closed, cancel the others."""
        self._runtime._check_wait()
        running: collections.deque[CallFuture[Any]] = collections.deque()
        try:
            for item in iterable:
                running.append(self._future(fun, (item,), waits=True))
                if len(running) >= concurrency:
                    yield running.popleft()
            while running:
                yield running.popleft()
        finally:
            for future in running:
                future.cancel()

    def stream(
        self, fun: Callable[_P, AsyncGenerator[_T, Any]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> AsyncIterator[_T]:
        """Iterate, on any loop, over an async generator that runs on the runtime's loop.

        One item is under way at a time. Closing the stream (`aclose`), or letting go of it, runs
        the generator's `finally`. Lazy: nothing happens before the first item is asked for.

        Of the options, `name` is what the spans carry: `name` the opening, `name.__aiter__`,
        `name.__anext__` and `name.aclose` the steps. `deadline` is for the stream as a whole, in
        seconds from when the first item is asked for: the step under way then, or the next one,
        raises `DeadlineExceeded`. The generator runs in `context`, by default a copy of the
        Context in which `stream` was called; each item begins in it, so RuntimeError ends a stream
        that finds somebody else there. `on_drop="detach"` lets a step under way come to its
        next item before the generator is closed. `full` and `thread` are about the opening.
        """
        return self._runtime._stream(self._options, fun, args, kwargs)


class PyRuntime(_native.Runtime, Calls):
    """An asyncio loop on a thread of its own, called through a queue, every crossing recorded.

    Leaving a `with` block, or letting go of the last reference, shuts the runtime down.
    """

    def __init__(
        self,
        name: str | None = None,
        *,
        queue_size: int = 1024,
        max_in_flight: int | None = None,
        loop_factory: Callable[[], AbstractEventLoop] | None = None,
        on_start: Callable[[], Awaitable[object]] | None = None,
        on_stop: Callable[[], Awaitable[object]] | None = None,
        threads: int | None = None,
        debug: bool = False,
        _default: bool = False,
    ) -> None:
        """Start the runtime; does not wait for its thread.

        `name`: its thread is called `gilscope-<name>`, in its spans too.
        `queue_size`: how many calls may wait to be started. `max_in_flight`: how many may have
        started and not ended; None is no bound. `loop_factory`: a function that returns another
        event loop. `on_start`, `on_stop`: async functions without arguments, awaited on the loop
        before the first and after the last call; if `on_start` raises, every call ends with
        `RuntimeStopped`, whose cause is what it raised. `threads`: size of the pool for blocking
        functions; None is asyncio's own choice. `debug`: asyncio's debug mode.

        Raises TypeError or ValueError for a value that makes no sense.
        """
        # Not itself: the last reference is to end the thread without a collection of garbage.
        Calls.__init__(self, self._handle(), {})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.shutdown("cancel")

    def shutdown(
        self,
        mode: Literal["drain", "cancel", "abort"] = "drain",
        deadline: float | None = None,
    ) -> dict[str, Any]:
        """Stop the runtime; idempotent, from any thread.

        "drain" lets queued and running calls finish, "cancel" cancels the running ones and refuses
        the queued, "abort" frees every caller at once. After `deadline` seconds drain turns to
        cancel and cancel to abort; None waits for as long as it takes. On the loop thread itself
        it only begins. Returns how many calls were `pending`, how many were `abandoned` at the
        deadline, and whether the thread `joined`.
        """
        return self._shutdown(mode, deadline)

    def stats(self) -> dict[str, Any]:
        """Return counts and durations of this process, and this runtime's own counters.

        The first are those of `gilscope.stats()`, which says what they are. Its own: `pending`,
        calls that are queued or running now; `undelivered`, outcomes whose receiver was gone;
        `callback_failed`, callbacks that raised. `loop_closed`, of the whole process: results for
        loops that were closed before.
        """
        return {**_native.stats(), **self._counters()}

    def in_flight(self) -> list[dict[str, Any]]:
        """Return what is open now on every loop of this process: calls and their tasks."""
        return _native.in_flight()

    def __repr__(self) -> str:
        state = "stopped" if self.is_stopped else "running"
        return f"<PyRuntime {self.id:#x} {state}>"


_default: PyRuntime | None = None
_default_lock = threading.Lock()


def _in_forked_child() -> None:
    """Replace the lock, which a thread of the parent may have held."""
    global _default_lock
    _default_lock = threading.Lock()


os.register_at_fork(after_in_child=_in_forked_child)


def py_runtime() -> PyRuntime:
    """Return the default runtime, made at first use; the same object until it is shut down.

    After a fork or a shutdown the next call makes a fresh one. Any thread.
    """
    global _default
    runtime = PyRuntime(_default=True)
    with _default_lock:
        before = _default  # let go of after the lock: that may run code which calls this
        if before is not None and before.id == runtime.id:
            return before
        _default = runtime
        return runtime
