"""Findings, the longest first; the same one of the same function is one, with a count."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

COUNTED = (
    "of each problem and function the file has the first, and each twice as bad as the last told"
)
"""Whom a count of findings counts; `gilscope run` counts all."""

if TYPE_CHECKING:
    from collections.abc import Iterable

    from gilscope.view.model import Finding, Trace

# `app.f` waited 203 ms for the GIL, which thread `reports` held in `render` (reports.py:41)
_BLAMED = re.compile(r"which thread `(?P<thread>[^`]*)` held(?: in `(?P<place>[^`]*` \([^():]*))?")
_NUMBER = re.compile(r"[0-9]{1,10}")
_NAMED = re.compile(r"`[^`]*`")
_TIME = re.compile(r"[\d.,]+ (?:ns|µs|ms|s|min)\b")


def grouped(findings: Iterable[Finding]) -> list[list[Finding]]:
    """Those of one problem and function together; in each and of all, the longest first.

    Those of the same duration, or of which it is not known, stand in the order of time: the same
    in both formats.
    """
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in sorted(findings, key=lambda one: (-one.duration, one.start or 0, one.id)):
        groups.setdefault((finding.id, _function(finding)), []).append(finding)
    return list(groups.values())


def longest_first(findings: Iterable[Finding]) -> bool:
    """Whether that order says anything: the file has a duration of each."""
    return all(finding.duration for finding in findings)


def _function(finding: Finding) -> str:
    """Whom it blames, as the run itself tells findings apart: a place whatever its line."""
    if blamed := _BLAMED.search(finding.sentence):
        return blamed["place"] or blamed["thread"]
    if named := _NAMED.search(finding.sentence):
        return named[0]
    return _TIME.sub("", finding.sentence)


def name_threads(trace: Trace) -> None:
    """Say the name of a thread that a finding knows by its number, where another record has it.

    The run looks for the name when the finding is made, and a thread may have left by then.
    """
    numbered = []
    for finding in trace.findings:
        blamed = _BLAMED.search(finding.sentence)
        if blamed and _NUMBER.fullmatch(blamed["thread"]):
            number = int(blamed["thread"])
            numbered.append((finding, number, blamed.span("thread")))
            if finding.thread and not _NUMBER.fullmatch(finding.thread):
                trace.threads.setdefault(number, finding.thread)
    for finding, number, (start, end) in numbered:
        if name := trace.threads.get(number):
            finding.sentence = f"{finding.sentence[:start]}{name}{finding.sentence[end:]}"
            finding.thread = name
