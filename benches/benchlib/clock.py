"""The clock of spans beside the system's, over as long as it takes for a wrong rate to show."""

import time

import gilscope
from benchlib.child import Job

# How often the clocks are compared, and for how long spans are kept.
PAUSE = 0.02
BATCH = 1.0


async def stamped() -> int:
    """Read the system's clock inside a poll."""
    return time.time_ns()


def clock(seconds: float) -> Job:
    """By how much the epoch stamps of polls are off from what `time.time_ns` says inside of them.

    A poll that the machine interrupts is longer, which is no error: what was read inside of it must
    lie between its begin and its end.
    """
    began, compared, longest = time.monotonic(), 0, 0
    # The error and when it was, in ns and s.
    worst, worst_at = 0, 0.0
    with gilscope.PyRuntime("clock") as rt:
        while (now := time.monotonic() - began) < seconds:
            inside = []
            with gilscope.trace() as trace:
                until = time.monotonic() + min(BATCH, seconds - now)
                while not inside or time.monotonic() < until:
                    inside.append(rt.call(stamped))
                    time.sleep(PAUSE)
            polls = [span for span in trace.spans if span["span"] == "poll"]
            for read, poll in zip(inside, polls, strict=True):
                start, end = poll["start_ns"], poll["start_ns"] + poll["dur_ns"]
                error = max(start - read, read - end, 0)
                longest = max(longest, poll["dur_ns"])
                if error > worst:
                    worst, worst_at = error, now
            compared += len(inside)
    yield {
        "seconds": time.monotonic() - began,
        "compared": compared,
        "longest_ns": longest,
        "worst_ns": worst,
        "worst_at": worst_at,
    }
