"""What a simulated loop chooses among, and how its traces and reports name things."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import asyncio


class Step(NamedTuple):
    """One step of a trace: when (ns), what ran, and the how-manieth of how many lanes it was."""

    at: int
    what: str
    choice: int
    of: int


class Lane:
    """What runs in order: the steps of one task, the calls of one caller, the loop's callbacks."""

    __slots__ = {
        "key": "The lane's number.",
        "name": "What the lane is, the same in every run.",
        "waiting": "What waits in it, oldest first: when it came in (ns), and what it is.",
    }

    def __init__(self, key: int, name: str) -> None:
        self.key = key
        self.name = name
        # (when it came in, handle or number of an entry of the simulator)
        self.waiting: deque[tuple[int, asyncio.Handle | int]] = deque()

    def __repr__(self) -> str:
        return f"<Lane {self.name}>"


Chooser = Callable[[Sequence[Lane]], int]


def since(lane: Lane) -> int:
    return lane.waiting[0][0]


def rust_name(key: int) -> str:
    """Name a lane of the simulator; see `host/sim/entry.rs`."""
    producer = "python" if key >> 2 == 0 else f"task {key >> 2}"
    if key >> 2 == (1 << 62) - 1:
        producer = "another thread"
    kinds = (f"task {key >> 2}", f"calls of {producer}", "cancel", f"posts of {producer}")
    return kinds[key & 3]


def task_name(number: int, coroutine: object) -> str:
    """Name a Python task by its place in the order of their creation."""
    return f"py {number} {getattr(coroutine, '__qualname__', type(coroutine).__name__)}"


def where(task: Any) -> str:
    """Name a task and the innermost line at which it waits."""
    waits: Any = task.get_coro()
    frame = None
    while waits is not None:
        frame = _part(waits, "frame") or frame
        waits = _part(waits, "await")
    if frame is None:
        return f"{task.get_name()}: {task.get_coro()!r}"
    code = frame.f_code
    return f"{task.get_name()}: {code.co_filename}:{frame.f_lineno} in {code.co_qualname}"


def _part(awaitable: Any, what: str) -> Any:
    """Give the frame of a coroutine or generator, or what it awaits."""
    for prefix in ("cr_", "gi_", "ag_"):
        name = "gi_yieldfrom" if prefix == "gi_" and what == "await" else prefix + what
        if hasattr(awaitable, name):
            return getattr(awaitable, name)
    return None
