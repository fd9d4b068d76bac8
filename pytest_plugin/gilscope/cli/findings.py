"""What was found, each in one line, with what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.text import Text

from gilscope._units import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The worst; the others are in the trace.
_SHOWN = 5


def findings_lines(findings: Mapping[str, Any], *, traced: bool) -> Iterator[Text]:
    """Yield the worst findings of `gilscope.stats()`, and how many more there are."""
    worst = findings["worst"]
    for finding in worst[:_SHOWN]:
        line = Text("finding: ", style="yellow")
        line.append(f"{finding['finding']} {finding['sentence']}")
        if finding["count"] > 1:
            first = "; the trace has the first, and each twice as bad" if traced else ""
            line.append(f" (the worst of {finding['count']:,} like it{first})", style="not bold")
        yield line
        yield Text(f"  hint: {finding['hint']}")
    more = len(worst) - _SHOWN + findings["dropped"]
    if more > 0:
        where = "gilscope view shows them" if traced else "--trace FILE.jsonl keeps them"
        yield Text(f"and {counted(more, 'more finding')}: {where}", style="yellow")
    if worst:
        yield Text()
