"""How long a run waits for its last calls after Ctrl-C, and what it says meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from gilscope._native import Batch
    from gilscope.cli.interrupt import Interrupt

# Seconds after which a wait is explained, and after which nobody waits for a loop that is held.
EXPLAIN = 1.0
GRACE = 3.0


class Explained:
    """Says what is waited for, each thing once."""

    def __init__(self) -> None:
        self._said: set[str] = set()

    def say(self, what: str) -> None:
        """Say it, unless that was done."""
        if what not in self._said:
            self._said.add(what)
            click.echo(f"waiting for {what}; press Ctrl-C again to leave now", err=True)


class Patience:
    """Waits as long as it takes, unless asked to leave, or code that holds the loop is waited for.

    Cancelled calls may clean up for as long as they like, since they do as they should. Code that
    holds the loop cannot even be told that it is cancelled.
    """

    def __init__(self, batch: Batch, interrupt: Interrupt, function: str) -> None:
        self._batch = batch
        self._interrupt = interrupt
        self._function = function
        self._explained = Explained()

    def lasts(self) -> bool:
        """Whether to go on waiting; to be asked again and again."""
        if not self._interrupt.requested:
            return True
        held = self._batch.unanswered()
        if self._interrupt.again or held > GRACE:
            return False
        if held > EXPLAIN:
            self._explained.say(f"{self._function} that holds the loop")
        elif held == 0 and self._interrupt.seconds() > 2 * EXPLAIN:
            counts = self._batch.progress()
            calls = counts["done"] < counts["fed"]
            self._explained.say("cancelled calls that clean up" if calls else "the rows to be read")
        return True
