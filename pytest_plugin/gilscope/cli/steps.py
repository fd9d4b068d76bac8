"""An async generator as a source: run step by step, so that Ctrl-C loses no input it gave."""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from typing import TYPE_CHECKING

from gilscope.cli.patience import EXPLAIN, GRACE, Explained

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from gilscope.cli.interrupt import Interrupt

# Seconds between two looks at what was asked for: a signal may come just before the loop waits.
_TICK = 0.1
_END = object()


def pull_async(items: AsyncIterator[object], interrupt: Interrupt, name: str) -> Iterator[object]:
    """Yield what `items` yields; ends when asked to stop. `name` is what a wait is told about."""
    steps = _Steps(items, interrupt, name)
    try:
        while not interrupt.requested and (item := steps.take()) is not _END:
            yield item
    finally:
        steps.close()


class _Steps:
    """A loop in this thread that runs one task per input.

    The first Ctrl-C cancels that task from within the loop: what is raised in asyncio's own code
    would make it forget a step, or a result. The second one is raised wherever the loop is, which
    is not used again then; a step that was done has its result all the same.
    """

    def __init__(self, items: AsyncIterator[object], interrupt: Interrupt, name: str) -> None:
        self._items = items
        self._interrupt = interrupt
        self._name = name
        self._explained = Explained()
        self._loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self._loop)
        self._context = contextvars.copy_context()  # one for all steps
        self._step: asyncio.Task[object] | None = None
        self._left: set[asyncio.Task[object]] = set()
        self._running = False
        self._ticked = 0.0
        self._thread = threading.get_ident()
        self._closed = threading.Event()
        self._watcher = threading.Thread(target=self._watch, name="gilscope-input", daemon=True)
        self._tick()
        self._watcher.start()
        interrupt.wake = self._wake

    def take(self) -> object:
        """The next item, or `_END`."""

        async def step() -> object:
            return await anext(self._items, _END)

        self._step = task = self._loop.create_task(step(), context=self._context)
        self._finish(task)
        self._step = None
        if not task.done() or (task.cancelled() and self._interrupt.requested):
            return _END
        if not task.cancelled() and isinstance(task.exception(), KeyboardInterrupt):
            return _END
        return task.result()

    def close(self) -> None:
        """Let end what the generator left behind, unless asked to leave."""
        if not self._interrupt.again:
            self._finish(self._loop.create_task(self._tidy(), context=self._context))
        self._closed.set()
        if self._interrupt.again:
            # The process ends at once. Kept until then: a task that goes away unfinished complains.
            self._left = asyncio.all_tasks(self._loop)
            return
        self._watcher.join()
        self._interrupt.wake = None
        asyncio.set_event_loop(None)
        self._loop.close()

    def _finish(self, task: asyncio.Task[object] | asyncio.Task[None]) -> None:
        """Run the loop until `task` is done, or somebody asks to leave."""
        task.add_done_callback(lambda _: self._loop.stop())
        # What stops the loop may also be the user's code, or left over from the task before.
        while not task.done() and not self._interrupt.again:
            self._ticked, self._running = time.monotonic(), True
            try:
                self._interrupt.run(self._loop)
            except KeyboardInterrupt:
                self._interrupt.request()  # unless a signal has: raised by the user's code itself
                self._look()
            except SystemExit:
                pass  # of the step, whose result it is
            finally:
                self._running = False

    async def _tidy(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        await self._loop.shutdown_asyncgens()
        await self._loop.shutdown_default_executor()

    def _wake(self) -> None:
        self._loop.call_soon_threadsafe(self._look)

    def _look(self) -> None:
        """Cancel the step, once, when asked to stop."""
        if self._interrupt.requested and self._step is not None:
            self._step.cancel()
            self._step = None

    def _tick(self) -> None:
        self._ticked = time.monotonic()
        self._look()
        if self._interrupt.requested and self._interrupt.seconds() > 2 * EXPLAIN:
            self._explained.say(f"{self._name} that cleans up")
        self._loop.call_later(_TICK, self._tick)

    def _watch(self) -> None:
        """Explain, and then end, a wait for a generator that holds the loop."""
        while not self._closed.wait(_TICK):
            if self._interrupt.again:
                return
            if not self._interrupt.requested or not self._running:
                continue
            held = min(time.monotonic() - self._ticked, self._interrupt.seconds())
            if held > GRACE:
                # It cannot be told that it is cancelled; as if Ctrl-C were pressed again.
                signal.pthread_kill(self._thread, signal.SIGINT)
                return
            if held > EXPLAIN:
                self._explained.say(f"{self._name} that holds its loop")
