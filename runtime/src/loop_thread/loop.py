"""The loop thread's main, seen from Python. Compiled into the runtime; `core` is its Rust side.

Invariant: whatever user code does to the loop, `run` returns only after a shutdown or when the loop
was closed under it, and then `core.end` runs.
"""

import asyncio
import functools
import inspect
import os
import selectors
import sys


class Selector(selectors.EpollSelector):
    """An epoll selector whose wait is exact; `select` is set on the instance."""

    def select(self, timeout=None):
        """Wait as `selectors.EpollSelector` does, with the GIL given up and taken exactly once."""
        return self.wait(timeout)


def make_loop(core, factory):
    """Return the loop to run and its epoll selector, or None for a loop that is not ours."""
    if factory is not None:
        return checked(factory()), None
    selector = Selector()
    selector.wait = core.select_for(selector.fileno(), selector._fd_to_key)
    return asyncio.SelectorEventLoop(selector), selector


def checked(loop):
    """Return what a loop factory returned, if it can be run here."""
    if not isinstance(loop, asyncio.AbstractEventLoop):
        given = f"{loop!r} ({type(loop).__name__})"
        raise TypeError(f"loop_factory must return an event loop, not {given}")
    if loop.is_running():
        raise RuntimeError(f"loop_factory must return a loop of its own; {loop!r} is running")
    return loop


async def await_any(awaitable):
    """Await whatever can be awaited, so that the driver sees a coroutine."""
    return await awaitable


def classify(value):
    """0: a plain value, 1: something to await, 2: an async iterator."""
    if inspect.isawaitable(value):
        return 1
    return 2 if hasattr(type(value), "__aiter__") else 0


async def close_generator(generator):
    """Close an async generator once its running step, which is being cancelled, has ended."""
    # A generator tells nobody when its step ends, so there is no event to wait for.
    seconds = 0.0
    while getattr(generator, "ag_running", False):
        await asyncio.sleep(seconds)
        seconds = min(2 * seconds + 0.001, 0.05)
    await generator.aclose()


async def call_and_encode(fun, encode, value):
    """Call a function, await what it returns if that can be awaited, and encode the result."""
    result = fun(value)
    if inspect.isawaitable(result):
        result = await result
    return encode(result)


async def run_in_thread(fun, args, kwargs):
    """Run a blocking function in the loop's thread pool, in a copy of the current context."""
    result = await asyncio.to_thread(fun, *args, **(kwargs or {}))
    if inspect.iscoroutine(result):
        result.close()
        raise TypeError(f"thread=True is for blocking functions; {fun!r} returned a coroutine")
    return result


async def root(core, stopped):
    """Live as long as the runtime: anyio ties its worker threads to this task."""
    if core.on_start is not None:
        try:
            await core.on_start()
        except GeneratorExit:
            raise  # nobody runs this any more: the loop was closed
        except BaseException as error:
            # Not raised again: this frame holds the runtime, which is to hold the error.
            core.start_failed(error.with_traceback(error.__traceback__.tb_next))
            return
    core.accept()
    while not stopped.done():
        try:
            await asyncio.shield(stopped)
        except asyncio.CancelledError:
            # Somebody cancelled every task there is; a runtime ends by shutdown only.
            asyncio.current_task().uncancel()
    if core.on_stop is not None:
        await core.on_stop()


def run(core, factory):
    """Run the loop until the root task is done. The body of the loop thread."""
    loop = None
    try:
        loop, selector = make_loop(core, factory)
        if core.debug:
            loop.set_debug(True)
        stopped = loop.create_future()
        core.enter(loop, selector, stopped)
        task = loop.create_task(root(core, stopped), name="gilscope-root")
        drive(core, loop, task)
        finish(core, loop)
    finally:
        core.end()  # first and alone: an interrupt at exit lands between calls, and not after this
        if loop is not None and not loop.is_closed():
            loop.close()


def drive(core, loop, task):
    """Run the root task, again and again if user code throws the loop out."""
    while not task.done() and not loop.is_closed():
        try:
            loop.run_until_complete(task)
        except (KeyboardInterrupt, SystemExit) as error:
            core.end_inherited(error)
            hush_at_exit(core, loop)
            continue  # raised by a task of user code, which has kept it; the loop goes on
        except RuntimeError:
            if not task.done():
                continue  # loop.stop() by user code
            break
        except BaseException:
            break
    if loop.is_closed():
        task._log_destroy_pending = (
            False  # nobody can end it any more, and who closed the loop knows
        )
    if task.done() and not task.cancelled() and task.exception() is not None:
        core.failed(task.exception())


def finish(core, loop):
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


def steps_of_finish(core, loop, left):
    """Yield what is to be run, one after the other."""
    if left:
        yield asyncio.wait(left, timeout=core.patience)
    yield asyncio.wait_for(loop.shutdown_asyncgens(), core.patience)
    if getattr(loop, "_default_executor", None) is not None:
        yield asyncio.wait_for(loop.shutdown_default_executor(), core.patience)


class AtExit:
    """An exception handler that says nothing of tasks that the exit cuts short."""

    def __init__(self, others):
        self.others = others  # the user's handler, or None

    def __call__(self, loop, context):
        """Pass on to the handler of before what is not of our making."""
        error = context.get("exception")
        pending = error is None and "task" in context
        if pending or isinstance(error, SystemExit):
            return
        if self.others is None:
            loop.default_exception_handler(context)
        else:
            self.others(loop, context)


def hush_at_exit(core, loop):
    """Let tasks that the exit cuts short, or throws out, go without a word on stderr."""
    if not core.exiting:
        return
    others = loop.get_exception_handler()
    if not isinstance(others, AtExit):
        loop.set_exception_handler(AtExit(others))


def nothing():
    """Do nothing: where an interrupt is met that is for nobody any more."""


def called_by(fun):
    """Return the function behind partial objects, and the `__call__` of its type."""
    while isinstance(fun, functools.partial):
        fun = fun.func
    return fun, inspect.getattr_static(type(fun), "__call__", None)


def is_async(fun):
    """Whether it can be seen of a callable, or of what it wraps, that it returns a coroutine."""
    if not callable(fun):
        return False
    fun, call = called_by(inspect.unwrap(fun))
    marked = getattr(fun, "_is_coroutine", None) is not None  # by compilers
    return marked or any(map(inspect.iscoroutinefunction, (fun, call)))


def end_child(error):
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


def exit_code(wanted):
    """Return the exit code that `sys.exit(wanted)` stands for, and print what is none."""
    if wanted is None or isinstance(wanted, int):
        return (wanted or 0) & 0xFF
    print(wanted, file=sys.stderr)
    return 1


def refuse_async(callback):
    """Raise TypeError for a callback that would return a coroutine nobody awaits."""
    if any(map(inspect.iscoroutinefunction, called_by(callback))):
        raise TypeError(
            "callback must be a plain function that takes an Outcome, "
            f"not the async function {callback!r}, which nobody would await"
        )
