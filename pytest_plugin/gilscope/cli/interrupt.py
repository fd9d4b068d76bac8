"""Ctrl-C and SIGTERM, without losing an input that was read but not yet fed."""

from __future__ import annotations

import atexit
import math
import os
import signal
import threading
import time
from itertools import count, islice
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from types import CodeType, FrameType, TracebackType

# Seconds after the second Ctrl-C in which what is done is still written, whoever asks again.
_LEAVING = 5.0


def ignore_in_the_end() -> None:
    """Have Ctrl-C ignored once all exit handlers have run; to be called before user code loads.

    From there on Python runs no handlers: the signal itself would end the process, not with 130.
    """
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_IGN)


_forking = threading.local()


def _before_fork() -> None:
    # So that a SIGTERM which comes early waits until the child has its own way to take it.
    _forking.mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})


def _after_fork() -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, _forking.mask)


def _after_fork_in_child() -> None:
    """Have SIGTERM end children of the user's code, as `multiprocessing` expects."""
    if isinstance(getattr(signal.getsignal(signal.SIGTERM), "__self__", None), Interrupt):
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _after_fork()


os.register_at_fork(
    before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
)


class Interrupt:
    """Turns the first SIGINT or SIGTERM into a request to stop, a second into a request to leave.

    A `KeyboardInterrupt` may come between any two instructions, also just after an input was taken
    from its source, and such an input would have no row. So a signal raises only while the user's
    own generator runs, which may wait for ever; everybody else looks at `requested` and `again`. An
    async generator is woken and cancelled, and hears only the second one so. A third signal ends
    the process if the second has not done so within 5 s. A SIGTERM that is ignored, or handled by
    the user's code, stays so.
    """

    def __init__(self, after: Callable[[int, FrameType | None], None] | None = None) -> None:
        """`after`: what handles the signal after the block, where Python's own did before it.

        Python's own raises, also where nobody is left to catch it.
        """
        self.requested = False
        self.again = False
        self.code = 130
        """The exit code, after the first signal."""
        self.wake: Callable[[], None] | None = None
        """What makes an async generator see a request; called by the signal handler."""
        self._cancel: Callable[[], None] | None = None
        self._requests = count()
        self._at = math.inf
        self._after = after
        self._before: object = None  # to be put back
        self._terminates = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        if self._after is not None and self._before is signal.default_int_handler:
            self._before = self._after
        self._terminates = signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
        if self._terminates:
            signal.signal(signal.SIGTERM, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._terminates:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]

    def seconds(self) -> float:
        """How long ago the last request was."""
        return time.monotonic() - self._at

    def cancels(self, cancel: Callable[[], None]) -> None:
        """Have `cancel` called at each request, also at one that was made before."""
        self._cancel = cancel
        if self.requested:
            cancel()

    def request(self) -> None:
        """Ask to stop, unless somebody has: for a `KeyboardInterrupt` of unknown origin."""
        if not self.requested:
            self._ask(signal.SIGINT)

    def run(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run `loop`, where the second signal, and each after it, raises."""
        loop.run_forever()

    def pull(self, items: Iterator[object]) -> Iterator[object]:
        """Yield what `items` yields; ends when asked to stop."""
        taken: list[object] = []
        while not self.requested:
            try:
                _take(items, taken)
            except KeyboardInterrupt:
                self.request()  # unless a signal has done so: raised by the user's code itself
            if not taken:
                return
            yield taken.pop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._ask(number)
        if self.wake is not None:
            self.wake()
        if _runs(frame, _take.__code__) or (self.again and _runs(frame, Interrupt.run.__code__)):
            raise KeyboardInterrupt

    def _ask(self, number: int) -> None:
        # One step, as the next signal may come after any instruction, also of this handler; so that
        # each counts, and what it asks for does not wait for what the one before asked for.
        before = next(self._requests)
        self.requested = True
        if before > 0:
            self.again = True
        else:
            self.code = 128 + number
        if before < 2:
            self._at = time.monotonic()
        elif self.seconds() > _LEAVING:
            os._exit(self.code)
        if self._cancel is not None:
            self._cancel()


def _take(items: Iterator[object], taken: list[object]) -> None:
    """Append the next item, if there is one."""
    # All in C from the item to the list: what was taken is in it, wherever a signal hits.
    taken.extend(islice(items, 1))


def _runs(frame: FrameType | None, code: CodeType) -> bool:
    """Whether `frame` is one of `code`, or below it."""
    while frame is not None:
        if frame.f_code is code:
            return True
        frame = frame.f_back
    return False
