"""How this package refuses a file, or a record in it."""

from __future__ import annotations


class BadTrace(Exception):
    """A file that cannot be shown: `message` is one line, `hint` what to do about it, if known."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Foreign(Exception):
    """A record that is none of ours; its text says in a few words what is wrong with it."""


class Refusals:
    """Counts the records that were left out, and keeps where the first is and why."""

    def __init__(self, path: str, word: str) -> None:
        self.count = 0
        self.first = ""
        """`line 7: what is wrong`."""
        self._path = path
        self._word = word

    def add(self, number: int, why: str) -> None:
        """The record of that number, from 1, is left out."""
        self.count += 1
        self.first = self.first or f"{self._word} {number:,}: {why}"

    def note(self, what: str) -> str:
        """All of it in one line."""
        verb = f"{self._word} is" if self.count == 1 else f"{self._word}s are"
        first = "" if self.count == 1 else "the first is "
        return f"{self.count:,} {verb} {what} and left out; {first}{self._path}, {self.first}"
