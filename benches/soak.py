"""Long checks of the runtime's footprint; writes what it found as markdown.

1. Ten million calls in chunks, some suspending, some raising: every outcome is delivered, and the
   resident set is flat within 5 %.
2. An idle runtime takes less than 1 ms of CPU time in 10 s.
3. L20: after 100,000 calls nothing has grown by more than 5 %: references, tasks, threads, memory.
4. What the contract bounds in real time keeps its bound: deadlines, shutdowns, refusals, exits. A
   bound that is missed by more than a second fails: keep the machine idle.

5. The clock: epoch stamps of spans are within 1 ms of what `time.time_ns` says inside of them, over
   ten minutes (`--seconds`) in which nobody sets the system's clock.

Needs only cargo and the running Python; 4 and 5 need gilscope installed too. Exit status: 0, 1 for
a failed check, 2 if it did not run.
"""

import argparse
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchlib import child
from benchlib.build import ROOT, BuildFailed, build
from benchlib.child import BENCHES, ChildFailed, Message

GROWTH = 0.05
IDLE_MS_PER_10_S = 1.0
SLACK_S = 1.0
CLOCK_MS = 1.0
SECTIONS = ("calls", "idle", "after", "bounds", "clock")


@dataclass(frozen=True)
class Check:
    """One line of the result."""

    what: str
    found: str
    wanted: str
    ok: bool


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--calls", type=int, default=10_000_000, help="default: 10,000,000")
    parser.add_argument("--chunk", type=int, default=250_000, help="calls between two looks")
    parser.add_argument("--idle", type=float, default=10.0, help="seconds to sit idle")
    parser.add_argument("--after", type=int, default=100_000, help="calls of L20")
    parser.add_argument("--seconds", type=float, default=600.0, help="of the clock; default: 600")
    parser.add_argument("--only", choices=SECTIONS, help="one of the checks")
    parser.add_argument("--lib", type=Path, help="folder of a gilscope_peers.so built before")
    parser.add_argument("--out", type=Path, help="write the result here, as markdown")
    return parser.parse_args()


def job(
    library: Path, name: str, options: Message, module: str = "benchlib.endure"
) -> Iterator[Message]:
    """Run one of the long jobs; its process must also exit cleanly."""
    return child.run(library, f"{module}:{name}", options, pinned=False, clean_exit=True)


def many_calls(library: Path, calls: int, chunk: int) -> Iterator[Check]:
    """Check 1."""
    began = time.monotonic()
    sizes: list[int] = []
    end: Message = {}
    for message in job(library, "many_calls", {"calls": calls, "chunk": chunk}):
        if "rss" not in message:
            end = message
            continue
        sizes.append(message["rss"])
        print(
            f"{message['done']:>12,} calls {message['us']:6.2f} µs each, "
            f"{message['rss'] / 1e6:.1f} MB resident",
            flush=True,
        )
    took = time.monotonic() - began
    delivered = end["calls"] - end["lost"]
    yield Check(
        f"{end['calls']:,} calls in {took:.0f} s",
        f"{delivered:,} outcomes, {end['wrong_chunks']} chunks with a wrong sum",
        "every outcome, as expected",
        not end["lost"] and not end["wrong_chunks"],
    )
    # The first tenth lets pools and rings reach their size.
    settled = sizes[len(sizes) // 10 :]
    spread = (max(settled) - min(settled)) / min(settled)
    yield Check(
        "resident set over these calls",
        f"{min(settled) / 1e6:.1f} to {max(settled) / 1e6:.1f} MB ({spread:.1%})",
        f"flat within {GROWTH:.0%}",
        spread <= GROWTH,
    )
    yield Check("records lost over these calls", f"{end['dropped']:,}", "printed", True)


def idle(library: Path, seconds: float) -> Iterator[Check]:
    """Check 2."""
    (found,) = job(library, "idle", {"seconds": seconds})
    limit = IDLE_MS_PER_10_S * seconds / 10
    threads = ", ".join(f"{k} {v:.2f}" for k, v in sorted(found["by_thread_ms"].items()))
    yield Check(
        f"CPU time of a process idle for {seconds:g} s",
        f"{found['cpu_ms']:.2f} ms; by the scheduler, ms: {threads or 'no other thread ran'} "
        "(without the main thread, which slept and then read these figures)",
        f"below {limit:g} ms",
        found["cpu_ms"] < limit,
    )


def after_calls(library: Path, calls: int) -> Iterator[Check]:
    """Check 3."""
    (found,) = job(library, "after_calls", {"calls": calls})
    for what, before in found["before"].items():
        after = found["after"][what]
        yield Check(
            f"L20: {what} after {calls:,} calls",
            f"{before:,} before, {after:,} after",
            f"no growth beyond {GROWTH:.0%}",
            after <= before * (1 + GROWTH),
        )


def shown(seconds: float) -> str:
    """Show a time with what digits say something."""
    return f"{seconds:.2f} s" if abs(seconds) >= 0.1 else f"{seconds * 1e3:.3f} ms"


def bound(what: str, bound: float, seconds: list[float]) -> Check:
    """Hold one line of check 4 against its bound."""
    wanted = "at once" if bound == 0 else shown(bound)
    return Check(
        f"{what} ({len(seconds):,} times)",
        f"median {shown(median(seconds))}, max {shown(max(seconds))}",
        f"{wanted}; fails beyond {shown(bound + SLACK_S)}",
        max(seconds) <= bound + SLACK_S,
    )


def bounds(library: Path) -> Iterator[Check]:
    """Check 4."""
    for found in child.run(library, "benchlib.bounds:bounds", {}, pinned=False, clean_exit=True):
        yield bound(**found)


def clock(library: Path, seconds: float) -> Iterator[Check]:
    """Check 5."""
    (found,) = job(library, "clock", {"seconds": seconds}, module="benchlib.clock")
    worst = found["worst_ns"] / 1e6
    yield Check(
        f"the clock of spans beside `time.time_ns`, for {found['seconds']:.0f} s",
        f"{found['compared']:,} times, off by at most {worst:.6f} ms, after "
        f"{found['worst_at']:.0f} s; the longest poll took {found['longest_ns'] / 1e6:.3f} ms",
        f"below {CLOCK_MS:g} ms",
        worst < CLOCK_MS,
    )


def commit() -> str:
    """Name the commit that is measured."""
    command = ["git", "describe", "--always", "--dirty"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip() or "unknown"


def markdown(checks: list[Check]) -> str:
    """Lay the checks out as a table."""
    about = (
        f"Taken at commit `{commit()}` with Python {platform.python_version()} "
        f"on {os.cpu_count()} cores, by `benches/soak.py`."
    )
    lines = ["# Soak", "", about, "", "| check | found | wanted | |", "|---|---|---|---|"]
    for check in checks:
        word = "ok" if check.ok else "**failed**"
        lines.append(f"| {check.what} | {check.found} | {check.wanted} | {word} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Build, run the checks, print and write."""
    args = arguments()
    checks: list[Check] = []
    try:
        library = args.lib or (BENCHES if args.only in ("bounds", "clock") else build())
        sections = {
            "calls": many_calls(library, args.calls, args.chunk),
            "idle": idle(library, args.idle),
            "after": after_calls(library, args.after),
            "bounds": bounds(library),
            "clock": clock(library, args.seconds),
        }
        for name in [args.only] if args.only else SECTIONS:
            for check in sections[name]:
                mark = "ok    " if check.ok else "FAILED"
                print(f"{mark} {check.what}: {check.found}; wanted: {check.wanted}", flush=True)
                checks.append(check)
    except (BuildFailed, ChildFailed) as failure:
        print(f"soak: {failure}", file=sys.stderr)
        return 2
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(markdown(checks))
        print(f"written: {args.out}")
    return 0 if all(check.ok for check in checks) else 1


if __name__ == "__main__":
    sys.exit(main())
