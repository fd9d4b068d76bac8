"""Ctrl-C, without losing an input that was read but not yet fed."""

from __future__ import annotations

import os
import signal
import time
from itertools import islice
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType

# Seconds after the second Ctrl-C in which what is done is still written, whoever asks again.
_LEAVING = 5.0


class Interrupt:
    """Turns the first SIGINT into a request to stop, a second one into a request to leave.

    A `KeyboardInterrupt` may come between any two instructions, also just after an input was taken
    from its source, and such an input would have no row. So a signal raises only while the user's
    own generator runs, which may wait for ever; everybody else looks at `requested` and `again`. A
    third signal ends the process if the second has not done so within 5 s.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.requested = False
        self.again = False
        self._cancel = cancel
        self._at = 0.0
        self._before: object = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        signal.signal(signal.SIGINT, self._before)  # type: ignore[arg-type]

    def seconds(self) -> float:
        """How long ago the last request was."""
        return time.monotonic() - self._at

    def pull(self, items: Iterator[object]) -> Iterator[object]:
        """Yield what `items` yields; ends when asked to stop."""
        taken: list[object] = []
        while not self.requested:
            try:
                _take(items, taken)
            except KeyboardInterrupt:
                self._request()  # unless a signal has done so: raised by the user's code itself
            if not taken:
                return
            yield taken.pop()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if not self.requested:
            self._request()
        elif not self.again:
            self.again, self._at = True, time.monotonic()
        elif self.seconds() > _LEAVING:
            os._exit(130)
        if _is_taking(frame):
            raise KeyboardInterrupt

    def _request(self) -> None:
        if not self.requested:
            self.requested, self._at = True, time.monotonic()
            self._cancel()


def _take(items: Iterator[object], taken: list[object]) -> None:
    """Append the next item, if there is one."""
    # All in C from the item to the list: what was taken is in it, wherever a signal hits.
    taken.extend(islice(items, 1))


def _is_taking(frame: FrameType | None) -> bool:
    """Whether a frame is `_take`'s, or one of the user's below it."""
    while frame is not None:
        if frame.f_code is _take.__code__:
            return True
        frame = frame.f_back
    return False
