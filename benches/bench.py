"""Measures gilscope beside its peers and holds the figures against the project's bars.

Peers: pyo3-async-runtimes used as its README shows ("peer"), and a port of the design gilscope
grew from ("seed"). Every variant of a row runs interleaved in one process, in two placements:
pinned to one core, where the bars gate, and free, which is reported. Figures are medians, in
microseconds per call. "on" is full tracing into a sink that writes nothing, "file" into JSON
lines; both are timed until the last record is joined and handed to the sink. "×" is the peer's
time over ours. Bars are for "on", pinned, with no record lost.

Needs only cargo and the running Python. Exit status: 0, 1 for a missed bar, 2 if it could not run.
"""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import median

from benchlib import child, table
from benchlib.build import ROOT, BuildFailed, build
from benchlib.child import ChildFailed, Message
from benchlib.work import CELLS


def arguments() -> argparse.Namespace:
    """Parse the command line."""
    about, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=about, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="medians of 3 instead of 7")
    parser.add_argument("--repeats", type=int, help="medians of this many")
    parser.add_argument("--only", help="only rows whose work starts with this; no JSON, no gate")
    parser.add_argument(
        "--placement", choices=("pinned", "free"), action="append", help="default: both"
    )
    parser.add_argument("--no-gate", action="store_true", help="exit 0 whatever the figures are")
    parser.add_argument("--lib", type=Path, help="folder of a gilscope_peers.so built before")
    parser.add_argument("--out", type=Path, default=ROOT / "target" / "bench.json")
    return parser.parse_args()


def progress(text: str) -> None:
    """Show what is running now, on a terminal only."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)


def collect(library: Path, job: str, options: Message, *, pinned: bool) -> list[Message]:
    """Run a job in a child; show its progress, return its results."""
    results = []
    for message in child.run(library, f"benchlib.{job}", options, pinned=pinned):
        if "progress" in message:
            progress(f"{'pinned' if pinned else 'free'}: {message['progress']}")
        else:
            results.append(message)
    progress("")
    return results


def rows(library: Path, placement: str, repeats: int, only: str | None) -> Iterator[Message]:
    """Measure and print all rows of one placement."""
    print(f"\n{placement}\n{table.HEAD}", flush=True)
    for index, cell in enumerate(CELLS):
        if only and not cell.work.startswith(only):
            continue
        options: Message = {"index": index, "repeats": repeats, "placement": placement}
        pinned = placement == "pinned"
        found = collect(library, "measure:cell_rows", options, pinned=pinned)
        null, file = (message["row"] for message in found)
        print(table.line(cell, null, file), flush=True)
        yield from (null, file)


def sleeping_bytes(library: Path, job: str, repeats: int) -> float:
    """Median growth per sleeping call; each repeat needs a process that never slept before."""
    found = []
    for repeat in range(repeats):
        progress(f"memory of sleeping calls: {job} {repeat + 1} of {repeats}")
        found += collect(library, f"memory:{job}", {"calls": 20_000}, pinned=False)
    return round(median(float(message["bytes"]) for message in found), 1)


def measure(library: Path, args: argparse.Namespace, repeats: int) -> table.Figures | None:
    """Measure everything; None if the command line asked for a part only."""
    placements = args.placement or ["pinned", "free"]
    found = [row for name in placements for row in rows(library, name, repeats, args.only)]
    if args.only or "pinned" not in placements:
        return None
    (span,) = collect(library, "measure:spans", {"bursts": 20 * repeats}, pinned=True)
    (fair,) = collect(library, "measure:fairness", {"repeats": repeats}, pinned=True)
    return table.Figures(
        rows=found,
        span_on_ns=span["span_on_ns"],
        span_off_ns=span["span_off_ns"],
        bytes_per_call=sleeping_bytes(library, "our_calls", 3),
        asyncio_task_bytes=sleeping_bytes(library, "asyncio_tasks", 3),
        fair_alone_us=fair["alone_us"],
        fair_beside_us=fair["beside_us"],
    )


def main() -> int:
    """Build, measure, print, write, gate."""
    args = arguments()
    repeats = args.repeats or (3 if args.quick else 7)
    version = ".".join(map(str, sys.version_info[:3]))
    try:
        library = args.lib or build()
        load = os.getloadavg()[0]
        print(f"Python {version}, medians of {repeats}, µs per call, load {load:.1f} before")
        figures = measure(library, args, repeats)
    except (BuildFailed, ChildFailed) as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 2
    if figures is None:
        return 0
    print("", *table.summary(figures), sep="\n")
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(figures.as_json(), indent=1) + "\n")
    print(f"written: {args.out}")
    misses = list(table.missed(figures))
    print("", *(f"MISSED {miss}" for miss in misses), sep="\n")
    print(f"{len(misses)} bars missed" if misses else "all bars met")
    return 1 if misses and not args.no_gate else 0


if __name__ == "__main__":
    sys.exit(main())
