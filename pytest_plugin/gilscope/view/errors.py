"""How this package refuses a file."""

from __future__ import annotations


class BadTrace(Exception):
    """A file that cannot be shown: `message` is one line, `hint` what to do about it, if known."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
