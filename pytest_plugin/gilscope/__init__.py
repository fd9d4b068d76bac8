"""Rust calls async Python without touching the GIL, and every call can be seen.

Importing this package loads nothing else: pytest imports it in every run of an environment it is
installed in, so the native module comes with the first name that needs it. In a subinterpreter the
import fails: ImportError.
"""

from __future__ import annotations

import _thread
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gilscope import rust, simulation
    from gilscope._instrument import instrument
    from gilscope._logging import TraceFilter
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


def _in_subinterpreter() -> bool:
    """Ask built-in modules if they know: importing others costs every run of pytest."""
    is_main = getattr(_thread, "_is_main_interpreter", None)  # from 3.12 on
    if is_main is not None:
        return not is_main()
    try:
        import_module("_signal").signal(0, None)  # changes nothing: there is no signal 0
    except ValueError as error:
        if "main thread of the main interpreter" not in str(error):
            return False  # that is where we are: what it minds is the number
    # Another thread, or another interpreter.
    try:
        interpreters = import_module("_xxsubinterpreters")
    except ImportError:
        return False  # this Python cannot make any
    return int(interpreters.get_current()) != 0


if _in_subinterpreter():
    # Here, as what comes first otherwise is asyncio, which in a subinterpreter alone crashes the
    # exit of Python 3.12.1.
    raise ImportError(
        "gilscope does not support subinterpreters: import it in the main interpreter"
    )

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
    "TraceFilter",
    "WrongThread",
    "instrument",
    "py_runtime",
    "rust",
    "simulation",
    "stats",
    "trace",
]

# Every name that does not come from `gilscope._native`.
_ELSEWHERE = {
    "PyRuntime": "gilscope._runtime",
    "TraceFilter": "gilscope._logging",
    "instrument": "gilscope._instrument",
    "py_runtime": "gilscope._runtime",
    "rust": "gilscope.rust",
    "simulation": "gilscope.simulation",
    "trace": "gilscope._trace",
}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'gilscope' has no attribute {name!r}")
    module = import_module(_ELSEWHERE.get(name, "gilscope._native"))
    value: object = module if name in ("rust", "simulation") else getattr(module, name)
    globals()[name] = value  # the next look-up does not come here
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
