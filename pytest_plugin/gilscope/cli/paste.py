"""Commands to type next, as a shell takes them."""

from __future__ import annotations

import os
from dataclasses import dataclass

from gilscope._shell import pasted
from gilscope.cli.replace import is_replaceable

# The default of --concurrency, which need not be said.
CONCURRENCY = 64


@dataclass(frozen=True, slots=True)
class Again:
    """How the same run is asked for once more."""

    function: str
    input: str
    concurrency: int
    deadline: float | None
    out: str | None
    trace: str | None
    otlp: str | None
    """Where to export to; empty: where the environment says."""

    def command(self, trace: str | None = None) -> str:
        """The command, with the trace that was asked for, or one of that name."""
        words = ["gilscope run", pasted(self.function), "--input", pasted(self.input)]
        if self.concurrency != CONCURRENCY:
            words += ["--concurrency", str(self.concurrency)]
        if self.deadline is not None:
            words += ["--deadline", str(self.deadline)]
        if self.out is not None:
            words += ["--out", pasted(self.out)]
        if self.otlp is not None:
            words.append("--otlp" + (f"={pasted(self.otlp)}" if self.otlp else ""))
        return " ".join(
            [*words, "--trace", pasted(trace or self.trace or self.fresh()), *self._redirected()]
        )

    def _redirected(self) -> list[str]:
        """`< FILE`, where standard input is one."""
        if self.input != "-":
            return []
        try:
            name = os.readlink("/proc/self/fd/0")
        except OSError:
            return []
        return ["<", pasted(name)] if os.path.isfile(name) else []

    def fresh(self) -> str:
        """A name for a trace that costs nobody a file."""
        taken = {self.out, self.input}
        names = ("trace.jsonl", *(f"trace{number}.jsonl" for number in range(2, 100)))
        free = (each for each in names if each not in taken and is_replaceable("--trace", each))
        return next(free, names[-1])
