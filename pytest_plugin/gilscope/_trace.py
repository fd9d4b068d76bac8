"""`gilscope.trace`: what is recorded while a block runs, in a file or in memory."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, ClassVar

from gilscope import _native

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class trace:
    """Record every span while the block runs.

    `path` that ends in `.jsonl` gets one record per line, any other path Chrome/Perfetto JSON for
    ui.perfetto.dev. Without a path the spans stay in memory: read them from `spans`, or from
    `gilscope.trace.memory()`. Several traces may be open at once; each sees everything recorded by
    this process, which the environment variable `GILSCOPE_DETAIL` (off, call or full) may limit.
    A trace that is open in a fork stays the parent's: a child that leaves the block ends nothing,
    and `spans` raises `RuntimeStopped` there.
    Raises `OSError` on entry when the path cannot be written, on exit when writing failed.
    """

    _last: ClassVar[trace | None] = None

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        self.path = None if path is None else os.fspath(path)
        self._id: int | None = None
        self._spans: list[dict[str, Any]] = []
        self._findings: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        if self._id is not None:
            raise RuntimeError("this trace is open already")
        self._id = _native.trace_start(self.path)
        if self.path is None:
            trace._last = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._id is None:
            return
        opened, self._id = self._id, None
        try:
            # What is told last is told at the end.
            if kept := _native.trace_stop(opened):
                self._spans, self._findings = kept
        except _native.RuntimeStopped:
            self._id = opened  # a forked child leaves it as it is: open, and the parent's

    @property
    def spans(self) -> list[dict[str, Any]]:
        """The spans recorded so far; empty when they went to a file."""
        if self.path is None and self._id is not None:
            return _native.trace_memory(self._id)
        return self._spans

    @property
    def findings(self) -> list[dict[str, Any]]:
        """What was found so far, as docs/findings.md describes; empty when it went to a file."""
        if self.path is None and self._id is not None:
            return _native.trace_findings(self._id)
        return self._findings

    @staticmethod
    def memory() -> list[dict[str, Any]]:
        """The spans of the memory trace entered last, open or closed; empty if there was none."""
        return [] if trace._last is None else trace._last.spans
