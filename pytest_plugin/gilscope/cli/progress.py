"""The progress bar on a terminal; it reads the counts itself, so that feeding pays nothing."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from contextlib import AbstractContextManager

    from rich.console import RenderableType


def progress_bar(
    read: Callable[[], dict[str, int]], total: int | None, out_fd: int
) -> AbstractContextManager[object]:
    """A bar on stderr, or nothing where that is no terminal or where rows are seen already."""
    if not sys.stderr.isatty() or os.isatty(out_fd):
        return nullcontext()
    return _Bar(read, total)


class _Bar(Progress):
    def __init__(self, read: Callable[[], dict[str, int]], total: int | None) -> None:
        super().__init__(
            SpinnerColumn(),
            BarColumn(),
            TextColumn("{task.fields[counts]}"),
            TimeElapsedColumn(),
            console=Console(stderr=True, highlight=False),
            transient=True,
        )
        self._read = read
        self._total = total
        self._row = self.add_task("calls", total=total, counts="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """Called by the refresh thread before each drawing."""
        if self.tasks:
            counts = self._read()
            self.update(self._row, completed=counts["done"], counts=self._say(counts))
        yield from super().get_renderables()

    def _say(self, counts: dict[str, int]) -> str:
        of = f" of {self._total:,}" if self._total is not None else ""
        failed = f", {counts['errors']:,} failed" if counts["errors"] else ""
        return f"{counts['done']:,}{of} done{failed}"
