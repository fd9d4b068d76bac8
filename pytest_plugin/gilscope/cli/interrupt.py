"""Ctrl-C, without losing an input that was read but not yet fed."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, TracebackType


class Interrupt:
    """Turns the first SIGINT into a request to stop, a second one into `KeyboardInterrupt`.

    A `KeyboardInterrupt` may come between any two instructions, also just after an input was taken
    from its source, and such an input would have no row. So the first signal raises only while the
    user's own generator runs: that may wait for ever, and has given nothing yet.
    """

    def __init__(self, cancel: Callable[[], None]) -> None:
        self.requested = False
        self._cancel = cancel
        self._pulling: FrameType | None = None
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

    def pull(self, items: Iterator[object]) -> Iterator[object]:
        """Yield what `items` yields; ends, or raises `KeyboardInterrupt`, when asked to stop."""
        frame = sys._getframe()
        while not self.requested:
            self._pulling = frame
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self._pulling = None
            yield item

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again:
            raise KeyboardInterrupt
        self._cancel()
        if self._pulling is not None and frame is not self._pulling:
            raise KeyboardInterrupt
