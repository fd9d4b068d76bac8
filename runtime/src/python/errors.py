"""The exceptions of gilscope. Compiled into the native module, re-exported by the package."""

from __future__ import annotations

import asyncio


class GilscopeError(Exception):
    """Base of what gilscope itself raises; what a callee raises is delivered as itself."""


class RuntimeStopped(GilscopeError):
    """The runtime is stopped, or the handle is from before a fork."""


class CallCancelled(GilscopeError, asyncio.CancelledError):
    """The call was cancelled; `by` is "caller", "callee" or "shutdown".

    If the callee raised it, `__cause__` is its own `CancelledError`, traceback and all.
    """

    def __init__(self, message: str = "the call was cancelled", by: str = "caller") -> None:
        super().__init__(message)
        self.by = by


class DeadlineExceeded(GilscopeError, TimeoutError):
    """The deadline passed; `where` is "queued", "poll", "suspended" or "cleanup"."""

    def __init__(self, message: str = "the deadline passed", where: str = "queued") -> None:
        super().__init__(message)
        self.where = where


class ArgumentError(GilscopeError, TypeError):
    """An argument could not be converted; the callee never ran."""


class ResultError(GilscopeError, TypeError):
    """The result could not be converted; `value` is what the callee returned."""

    def __init__(
        self, message: str = "the result could not be converted", value: object = None
    ) -> None:
        super().__init__(message)
        self.value = value


class RustPanic(GilscopeError):
    """Rust code panicked on behalf of the call; the message is the panic's text."""


class QueueFull(GilscopeError):
    """The call queue has no room."""


class WrongThread(GilscopeError):
    """A blocking call on a thread that must not block."""


for _class in list(globals().values()):
    if isinstance(_class, type):
        _class.__module__ = "gilscope"
