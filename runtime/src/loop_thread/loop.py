"""The loop thread's main, seen from Python. Compiled into the runtime; `core` is its Rust side.

Invariant: whatever user code does to the loop, `run` returns only after a shutdown or when the loop
was closed under it, and then `core.end` runs.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import os
import selectors
import sys

TYPE_CHECKING = False  # not the one of `typing`, whose import costs milliseconds
if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future, Task
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterator, Mapping
    from contextvars import Context
    from typing import Any, Protocol

    Wait = Callable[[float | None], list[tuple[selectors.SelectorKey, int]]]
    Handler = Callable[[AbstractEventLoop, dict[str, Any]], object]

    class Core(Protocol):
        """The Rust side: `Core` in `thread.rs`."""

        debug: bool
        exiting: bool
        patience: float
        on_start: Callable[[], Awaitable[object]] | None
        on_stop: Callable[[], Awaitable[object]] | None

        def select_for(self, epoll: int, keys: Mapping[int, selectors.SelectorKey]) -> Wait:
            """Return the wait of a selector."""

        def enter(
            self, event_loop: AbstractEventLoop, selector: Selector | None, stopped: Future[None]
        ) -> None:
            """Take note of the loop that is made."""

        def accept(self) -> None:
            """Begin to take calls."""

        def failed(self, error: BaseException) -> None:
            """Report what a hook, or a step of the clean-up, raised."""

        def start_failed(self, error: BaseException) -> None:
            """Report what the start hook raised; the callers are told."""

        def ring(self) -> None:
            """Have the loop look for messages as soon as it runs."""

        def end_inherited(self, error: BaseException) -> None:
            """End the process if it is a forked child that has come back to this loop."""

        def end(self) -> None:
            """Free every caller: the loop has ended."""


class Selector(selectors.EpollSelector):
    """An epoll selector whose wait is exact; `wait` is set on the instance."""

    wait: Wait
    _fd_to_key: Mapping[int, selectors.SelectorKey]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Wait as `selectors.EpollSelector` does, with the GIL given up and taken exactly once."""
        return self.wait(timeout)


def make_loop(
    core: Core, factory: Callable[[], object] | None
) -> tuple[AbstractEventLoop, Selector | None]:
    """Return the loop to run and its epoll selector, or None for a loop that is not ours."""
    if factory is not None:
        return checked(factory()), None
    selector = Selector()
    selector.wait = core.select_for(selector.fileno(), selector._fd_to_key)
    return asyncio.SelectorEventLoop(selector), selector


def checked(loop: object) -> AbstractEventLoop:
    """Return what a loop factory returned, if it can be run here."""
    if not isinstance(loop, asyncio.AbstractEventLoop):
        given = f"{loop!r} ({type(loop).__name__})"
        raise TypeError(f"loop_factory must return an event loop, not {given}")
    if loop.is_running():
        raise RuntimeError(f"loop_factory must return a loop of its own; {loop!r} is running")
    return loop


async def await_any(awaitable: Awaitable[object]) -> object:
    """Await whatever can be awaited, so that the driver sees a coroutine."""
    return await awaitable


def classify(value: object) -> int:
    """0: a plain value, 1: something to await, 2: an async iterator."""
    if inspect.isawaitable(value):
        return 1
    return 2 if hasattr(type(value), "__aiter__") else 0


async def close_generator(generator: AsyncGenerator[object, None]) -> None:
    """Close an async generator once its running step, which is being cancelled, has ended."""
    # A generator tells nobody when its step ends, so there is no event to wait for.
    seconds = 0.0
    while getattr(generator, "ag_running", False):
        await asyncio.sleep(seconds)
        seconds = min(2 * seconds + 0.001, 0.05)
    await generator.aclose()


async def call_and_encode(
    fun: Callable[[object], object], encode: Callable[[object], object], value: object
) -> object:
    """Call a function, await what it returns if that can be awaited, and encode the result."""
    result = fun(value)
    if inspect.isawaitable(result):
        result = await result
    return encode(result)


async def run_in_thread(
    fun: Callable[..., object], args: tuple[object, ...], kwargs: dict[str, object] | None
) -> object:
    """Run a blocking function in the loop's thread pool, in a copy of the current context."""
    result = await asyncio.to_thread(fun, *args, **(kwargs or {}))
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"thread=True is for blocking functions; {fun!r} returned a coroutine")
    return result


class Root:
    """The task that lives as long as the runtime: anyio ties its worker threads to it.

    Who cancels every task there is, and waits for them, sees that one end, too; another then takes
    its place, for a runtime ends by shutdown only.
    """

    def __init__(self, core: Core, stopped: Future[None]) -> None:
        self.core = core
        self.stopped = stopped
        self.context: Context | None = None  # as the start hook left it
        self.stopping = False  # the stop hook has begun

    async def start(self) -> None:
        """Start, and live."""
        core = self.core
        if core.on_start is not None:
            try:
                await core.on_start()
            except GeneratorExit:
                raise  # nobody runs this any more: the loop was closed
            except BaseException as error:
                core.end_inherited(error)
                # Not raised again: this frame holds the runtime, which is to hold the error.
                frames = error.__traceback__
                core.start_failed(error.with_traceback(frames and frames.tb_next))
                return
        self.context = contextvars.copy_context()
        core.accept()
        await self.live()

    async def live(self) -> None:
        """Live until the shutdown."""
        await asyncio.shield(self.stopped)
        self.stopping = True
        if self.core.on_stop is not None:
            await self.core.on_stop()

    def again(self, loop: AbstractEventLoop) -> Task[None] | None:
        """Return the task that takes the place of one that was cancelled, if any does."""
        if self.context is None or self.stopping:
            return None
        return self.context.run(self.task, loop, self.live())

    def task(self, loop: AbstractEventLoop, coro: Coroutine[Any, Any, None]) -> Task[None]:
        """Return a task of this name."""
        return loop.create_task(coro, name="gilscope-root")


def run(core: Core, factory: Callable[[], object] | None) -> None:
    """Run the loop until the root task is done. The body of the loop thread."""
    loop = None
    try:
        loop, selector = make_loop(core, factory)
        if core.debug:
            loop.set_debug(True)
        stopped = loop.create_future()
        core.enter(loop, selector, stopped)
        drive(core, loop, stopped)
        finish(core, loop)
    finally:
        core.end()  # first and alone: an interrupt at exit lands between calls, and not after this
        if loop is not None and not loop.is_closed():
            loop.close()


def drive(core: Core, loop: AbstractEventLoop, stopped: Future[None]) -> None:
    """Run the root task, again and again if user code throws the loop out."""
    root = Root(core, stopped)
    task = root.task(loop, root.start())
    while not loop.is_closed():
        if task.done():
            another = root.again(loop) if task.cancelled() else None
            if another is None:
                break
            task = another
        core.ring()  # what threw the loop out may have taken with it what the wait had found
        try:
            loop.run_until_complete(task)
        except asyncio.CancelledError:
            continue
        except (KeyboardInterrupt, SystemExit) as thrown:
            core.end_inherited(thrown)
            hush_at_exit(core, loop)
            continue  # raised by a task of user code, which has kept it; the loop goes on
        except RuntimeError:
            continue  # loop.stop() by user code, unless the root task has raised it
        except BaseException:
            break
    if loop.is_closed():
        # Nobody can end it any more, and who closed the loop knows.
        task._log_destroy_pending = False  # type: ignore[attr-defined]
    if task.done() and not task.cancelled() and (error := task.exception()) is not None:
        core.failed(error)


def finish(core: Core, loop: AbstractEventLoop) -> None:
    """Cancel what is left, as asyncio.run does, and close generators and the thread pool."""
    if loop.is_closed():
        return
    hush_at_exit(core, loop)
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    for step in steps_of_finish(core, loop, left):
        try:
            loop.run_until_complete(step)
        except BaseException as error:  # at exit neither threads nor executors may be had
            if not isinstance(error, RuntimeError):
                core.failed(error)


def steps_of_finish(
    core: Core, loop: AbstractEventLoop, left: set[Task[Any]]
) -> Iterator[Awaitable[object]]:
    """Yield what is to be run, one after the other."""
    if left:
        yield asyncio.wait(left, timeout=core.patience)
    yield asyncio.wait_for(loop.shutdown_asyncgens(), core.patience)
    if getattr(loop, "_default_executor", None) is not None:
        yield asyncio.wait_for(loop.shutdown_default_executor(), core.patience)


class AtExit:
    """An exception handler that says nothing of tasks that the exit cuts short."""

    def __init__(self, others: Handler | None) -> None:
        self.others = others  # the user's handler, or None

    def __call__(self, loop: AbstractEventLoop, context: dict[str, Any]) -> None:
        """Pass on to the handler of before what is not of our making."""
        error = context.get("exception")
        pending = error is None and "task" in context
        if pending or isinstance(error, SystemExit):
            return
        if self.others is None:
            loop.default_exception_handler(context)
        else:
            self.others(loop, context)


def hush_at_exit(core: Core, loop: AbstractEventLoop) -> None:
    """Let tasks that the exit cuts short, or throws out, go without a word on stderr."""
    if not core.exiting:
        return
    others = loop.get_exception_handler()
    if not isinstance(others, AtExit):
        loop.set_exception_handler(AtExit(others))


def nothing() -> None:
    """Do nothing: where an interrupt is met that is for nobody any more."""


def called_by(fun: object) -> tuple[object, object]:
    """Return the function behind partial objects, and the `__call__` of its type."""
    while isinstance(fun, functools.partial):
        fun = fun.func
    return fun, inspect.getattr_static(type(fun), "__call__", None)


def is_async(fun: object) -> bool:
    """Whether it can be seen of a callable, or of what it wraps, that it returns a coroutine."""
    if not callable(fun):
        return False
    inner, _ = called_by(fun)
    seen: list[object] = []
    for given in (fun, inspect.unwrap(fun), inspect.unwrap(inner)):  # type: ignore[arg-type]
        seen += called_by(given)
    marked = (getattr(each, "_is_coroutine", None) is not None for each in seen)  # by compilers
    return any(marked) or any(map(inspect.iscoroutinefunction, seen))


def register_fork(in_child: Callable[[], object]) -> None:
    """Have it called in the children that `os.fork` makes."""
    os.register_at_fork(after_in_child=in_child)


def put_first(loop: AbstractEventLoop, callback: Callable[[], object]) -> None:
    """Have a loop run it before anything else, if it is one of asyncio's own."""
    ready = getattr(loop, "_ready", None)
    if ready is not None and not loop.is_closed():
        loop.call_soon(callback)
        ready.rotate(1)


def end_child(error: BaseException | None) -> None:
    """End a forked child that would go on with its parent's loop; its code has raised `error`."""
    code = 1
    try:
        if isinstance(error, SystemExit):
            code = exit_code(error.code)
        elif error is not None:
            sys.excepthook(type(error), error, error.__traceback__)
        else:
            text = "a child forked inside a call has come back to its parent's event loop, and ends"
            print(f"gilscope: {text}; let it end itself, by sys.exit", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)


def exit_code(wanted: object) -> int:
    """Return the exit code that `sys.exit(wanted)` stands for, and print what is none."""
    if wanted is None or isinstance(wanted, int):
        return (wanted or 0) & 0xFF
    print(wanted, file=sys.stderr)
    return 1


def refuse_async(callback: object) -> None:
    """Raise TypeError for a callback that would return a coroutine nobody awaits."""
    if any(map(inspect.iscoroutinefunction, called_by(callback))):
        raise TypeError(
            "callback must be a plain function that takes an Outcome, "
            f"not the async function {callback!r}, which nobody would await"
        )
