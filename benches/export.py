"""Measures what export to a real collector costs, and holds it against the project's bars.

Spans are compared with the same ones by tracing-opentelemetry and by OpenTelemetry's SDK for
Python, each with a batch processor whose exporter drops them. The other rows send everything that
is recorded, in full detail, to an OpenTelemetry collector on this machine, which is kept to one of
its cores; "without" joins and counts the same records. With and without take turns in one
process; figures are medians, of ratios too. Needs cargo, Go for the collector, opentelemetry-sdk.

Exit status: 0, 1 for a missed bar, 2 if it could not run.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

from benchlib import child
from benchlib.build import ROOT, BuildFailed, build
from benchlib.child import ChildFailed, Message
from benchlib.collector import PROTOCOLS, NoCollector, collector
from benchlib.work import (
    EXPORT_P99_RATIO,
    EXPORT_PACE,
    EXPORT_PER_S,
    EXPORT_SHARE,
    SPAN_OFF_NS,
    SPAN_ON_NS,
)


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeats", type=int, default=7, help="medians of this many")
    parser.add_argument("--only", choices=tuple(ROWS), action="append", help="default: all")
    parser.add_argument("--no-gate", action="store_true", help="exit 0 whatever the figures are")
    parser.add_argument("--lib", type=Path, help="folder of a gilscope_peers.so built before")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "bench-export.json")
    return parser.parse_args()


class Bench:
    """What the rows need: the library, a collector, how many times."""

    def __init__(self, library: Path, urls: dict[str, str], repeats: int) -> None:
        self.library, self.urls, self.repeats = library, urls, repeats
        self.figures: dict[str, Message] = {}

    def run(self, name: str, job: str, *, pinned: bool = False, **options: object) -> Message:
        """Measure in a child; keep and return the last thing it says."""
        found: Message = {}
        options = {"repeats": self.repeats, **options}
        for message in child.run(self.library, f"benchlib.exported:{job}", options, pinned=pinned):
            if "progress" not in message:
                found = message
            elif sys.stderr.isatty():
                print(f"\r\x1b[K{message['progress']}", end="", file=sys.stderr, flush=True)
        if sys.stderr.isatty():
            print("\r\x1b[K", end="", file=sys.stderr)
        self.figures[name] = found
        return found


Misses = Iterator[str]


def _bar(what: str, value: float, bar: float, *, most: bool) -> Misses:
    if value > bar if most else value < bar:
        yield f"{what}: {value:.4g}, the bar is at {'most' if most else 'least'} {bar:g}"


def _lost(found: Message) -> str:
    lost = {reason: spans for reason, spans in found["lost"].items() if spans}
    said = ", ".join(f"{spans:,} {reason}" for reason, spans in lost.items()) or "none"
    return f"{found['exported']:,} spans exported, lost: {said}"


def spans(bench: Bench) -> Misses:
    """What one span costs, on and off."""
    found = bench.run("spans", "span_costs")
    print(f"\n{'ns per span':<34}{'on':>9}{'off':>8}")
    print(f"{'gilscope':<34}{found['ours']:>9.1f}{found['ours off']:>8.2f}")
    tracing = "tracing-opentelemetry, batch"
    print(f"{tracing:<34}{found['tracing']:>9.1f}{found['tracing off']:>8.2f}")
    print(f"{'opentelemetry-sdk (Python), batch':<34}{found['python']:>9.1f}{'-':>8}", flush=True)
    yield from _bar("span on, ns", found["ours"], SPAN_ON_NS, most=True)
    yield from _bar("span off, ns", found["ours off"], SPAN_OFF_NS, most=True)


def paced(bench: Bench) -> Misses:
    """Calls at a steady rate; export on the collector's core, on that of the calls, on any."""
    for protocol, placement in product(PROTOCOLS, ("apart", "pinned", "free")):
        options = {
            "per_second": EXPORT_PACE,
            "seconds": 2.0,
            "to": (protocol, bench.urls[protocol]),
            "core": min(os.sched_getaffinity(0)) if placement == "apart" else None,
        }
        pinned = placement != "free"
        found = bench.run(f"paced {protocol} {placement}", "paced", pinned=pinned, **options)
        what = f"{EXPORT_PACE:,} calls/s, {protocol}, {placement}"
        print(
            f"\n{what}: p99 {found['without_us']:.0f} µs without, {found['with_us']:.0f} µs with "
            f"export ({found['ratio']:.2f} ×)\n  {_lost(found)}",
            flush=True,
        )
        if placement == "apart":
            yield from _bar(f"{what}, p99 ratio", found["ratio"], EXPORT_P99_RATIO, most=True)
        yield from _bar(f"{what}, lost", sum(found["lost"].values()), 0, most=True)


def saturated(bench: Bench) -> Misses:
    """As many calls as go: pinned to the core that the collector leaves alone, then free."""
    for protocol, pinned in product(PROTOCOLS, (True, False)):
        options = {
            "calls": 400_000,
            "in_flight": 64,
            "to": (protocol, bench.urls[protocol]),
        }
        placement = "pinned" if pinned else "free"
        found = bench.run(
            f"saturated {protocol} {placement}", "saturated", pinned=pinned, **options
        )
        what = f"saturation, {protocol}, {placement}"
        print(
            f"\n{what}: {found['without_per_s']:,.0f} calls/s without, "
            f"{found['with_per_s']:,.0f} with export ({found['share']:.0%})\n  {_lost(found)}",
            flush=True,
        )
        if pinned:
            yield from _bar(f"{what}, share", found["share"], EXPORT_SHARE, most=False)


def rate(bench: Bench) -> Misses:
    """Spans a second into the collector."""
    for protocol in PROTOCOLS:
        to = (protocol, bench.urls[protocol])
        found = bench.run(f"rate {protocol}", "export_rate", calls=50_000, to=to)
        what = f"export rate, {protocol}"
        print(f"\n{what}: {found['per_s']:,.0f} spans/s\n  {_lost(found)}", flush=True)
        yield from _bar(what, found["per_s"], EXPORT_PER_S, most=False)
        yield from _bar(f"{what}, lost", sum(found["lost"].values()), 0, most=True)


ROWS = {"spans": spans, "paced": paced, "saturated": saturated, "rate": rate}


def main() -> int:
    """Build, measure, print, write, gate."""
    args = arguments()
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        library = args.lib or build()
        print(f"Python {version}, medians of {args.repeats}, load {os.getloadavg()[0]:.1f} before")
        with collector() as urls:
            bench = Bench(library, urls, args.repeats)
            misses = [miss for name in args.only or ROWS for miss in ROWS[name](bench)]
    except (BuildFailed, ChildFailed, NoCollector, subprocess.TimeoutExpired) as failure:
        print(f"export: {failure}", file=sys.stderr)
        return 2
    if not args.only:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(bench.figures, indent=1) + "\n")
        print(f"\nwritten: {args.out}")
    print("", *(f"MISSED {miss}" for miss in misses), sep="\n")
    print(f"{len(misses)} bars missed" if misses else "all bars met")
    return 1 if misses and not args.no_gate else 0


if __name__ == "__main__":
    sys.exit(main())
