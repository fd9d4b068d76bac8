"""What the page says around its picture: findings, calls that had not ended, the longest poll."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from gilscope.view.busy import longest_poll
from gilscope.view.choice import evenly
from gilscope.view.findings import COUNTED, grouped, longest_first
from gilscope.view.unended import headline, lacking, life, unended

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from gilscope.view.model import Finding, Trace, Work


class Around:
    """Texts are cut by `cut`, stacks after `frames`; times count from the first moment."""

    def __init__(self, trace: Trace, cut: Callable[[str], str], frames: int) -> None:
        self._trace = trace
        self._cut = cut
        self._frames = frames
        self._zero, _ = trace.bounds()

    def longest(self) -> dict[str, Any] | None:
        """The longest poll of all."""
        if (found := longest_poll(self._trace)) is None:
            return None
        work, poll = found
        said = {"name": self._cut(work.name), "call": work.call or work.id}
        return {**said, "at": poll.start - self._zero, "dur": poll.end - poll.start}

    def open_calls(self, shown: Sequence[Work]) -> dict[str, Any]:
        """What is said of calls that had not ended, in the words of the text."""
        calls = [
            {"id": call.id, "name": self._cut(call.name), "said": self._cut(life(call, self._zero))}
            for call in shown
        ]
        more = len(unended(self._trace)) - len(shown)
        said = {"said": headline(self._trace), "lacking": lacking(self._trace)}
        return {**said, "calls": calls, "more": more}

    def counting(self) -> dict[str, str]:
        """What the number of findings counts, and which of its like a card has."""
        known = longest_first(self._trace.findings)
        return {"counted": COUNTED, "alike": "the worst" if known else "one"}

    def findings(self, most: int) -> list[dict[str, Any]]:
        """The worst of each group, which has a count, then others of them: bands in the picture."""
        groups = grouped(self._trace.findings)
        worst = [{**self._finding(group[0]), "count": len(group)} for group in groups[:most]]
        others = evenly([one for group in groups for one in group[1:]], most - len(worst))
        return [*worst, *({**self._finding(one), "count": 0} for one in others)]

    def capped(self, most: int) -> list[str]:
        """A note, if there are more findings."""
        count = len(self._trace.findings)
        return [f"{most} of {count:,} findings are shown."] if count > most else []

    def _finding(self, finding: Finding) -> dict[str, Any]:
        start = None if finding.start is None else finding.start - self._zero
        said = {
            "id": finding.id,
            "name": finding.name,
            "sentence": self._cut(finding.sentence),
        }
        more = {
            "hint": self._cut(finding.hint or "") or None,
            "call": finding.call,
            "thread": finding.thread,
        }
        stack = [self._cut(frame) for frame in finding.stack[: self._frames]]
        return {**said, **more, "start": start, "dur": finding.duration, "stack": stack}
