"""Rust calls async Python without touching the GIL, and every call can be seen.

Importing this package loads nothing else: pytest imports it in every run of an environment it is
installed in, so the native module comes with the first name that needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gilscope import rust, simulation
    from gilscope._native import (
        ArgumentError,
        CallCancelled,
        DeadlineExceeded,
        GilscopeError,
        Outcome,
        QueueFull,
        ResultError,
        RuntimeStopped,
        RustPanic,
        WrongThread,
        stats,
    )
    from gilscope._runtime import PyRuntime, py_runtime
    from gilscope._trace import trace

__all__ = [
    "ArgumentError",
    "CallCancelled",
    "DeadlineExceeded",
    "GilscopeError",
    "Outcome",
    "PyRuntime",
    "QueueFull",
    "ResultError",
    "RuntimeStopped",
    "RustPanic",
    "WrongThread",
    "py_runtime",
    "rust",
    "simulation",
    "stats",
    "trace",
]

# Every name that does not come from `gilscope._native`.
_ELSEWHERE = {
    "PyRuntime": "gilscope._runtime",
    "py_runtime": "gilscope._runtime",
    "rust": "gilscope.rust",
    "simulation": "gilscope.simulation",
    "trace": "gilscope._trace",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'gilscope' has no attribute {name!r}")
    try:
        # Before the others, which import asyncio: in a subinterpreter that alone crashes the exit
        # of Python 3.12.1.
        import_module("gilscope._native")
    except ImportError as error:
        if _in_subinterpreter():
            # What Python and the native module say instead depends on who was first.
            raise ImportError(
                "gilscope does not support subinterpreters: import it in the main interpreter"
            ) from error
        raise
    module = import_module(_ELSEWHERE.get(name, "gilscope._native"))
    value: object = module if name in ("rust", "simulation") else getattr(module, name)
    globals()[name] = value  # the next look-up does not come here
    return value


def _in_subinterpreter() -> bool:
    """Asked only once an import has failed: no module that tells comes for nothing."""
    for name in ("_interpreters", "_xxsubinterpreters"):
        try:
            interpreters = import_module(name)
        except ImportError:
            continue
        current = interpreters.get_current()
        return (current[0] if isinstance(current, tuple) else int(current)) != 0
    return False


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
