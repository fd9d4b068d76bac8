"""What a run that shows little is told: why, and what to do about it."""

from __future__ import annotations

import inspect
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping


def no_call(source: str, counts: Mapping[str, int], interrupted: bool) -> str:
    """Why no call was made, of a run that made none."""
    why = "nothing was recorded, as no call was made: "
    given = "standard input" if source == "-" else source
    if interrupted or counts["unstarted"]:
        return f"{why}it was stopped before the first one"
    if counts["done"]:
        return f"{why}no line of {given} is JSON; write one value a line, a text in quotes"
    each = "yield one item for each" if _is_generator(source) else "write one line of JSON for each"
    return f"{why}{given} gave no input; {each}"


def _is_generator(source: str) -> bool:
    return ":" in source and not os.path.exists(source)


def not_async(function: str, fun: object, stats: Mapping[str, Any]) -> str | None:
    """What to say of a plain function none of whose calls awaited anything; None of any other."""
    call = getattr(fun, "__call__", None)  # noqa: B004
    if inspect.iscoroutinefunction(fun) or inspect.iscoroutinefunction(call):
        return None
    parts = stats["parts"]
    # A plain function may return something to await, so what was recorded decides.
    if not parts["poll"]["count"] or parts["suspended"]["count"] or stats["fell_back"]:
        return None
    return (
        f"{function} is not async, and no call awaited anything: they ran one after the other, "
        "each holding the event loop; make it `async def`, and await what takes time"
    )
