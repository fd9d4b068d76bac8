"""The measuring loops, run in a child: every variant of a cell interleaved, medians reported."""

import tempfile
from collections.abc import Callable, Generator
from pathlib import Path
from statistics import median

import gilscope_peers as peers

from benchlib.child import Job, Message
from benchlib.work import CELLS, FUNCTIONS, Cell, await_rust, immediate, slow

Variant = Callable[[Cell], float]
Rounds = Generator[Message, None, dict[str, list[float]]]
# A JSON line per span: fewer calls, or a repeat would write hundreds of megabytes.
FILE_SHARE = 8
WARM_UP = 200


def _peer(cell: Cell) -> float:
    if cell.work == "await_rust":
        return peers.par_await_rust(await_rust, cell.peer_n, cell.in_flight) / cell.peer_n
    return peers.par_calls(FUNCTIONS[cell.work], cell.peer_n, cell.in_flight) / cell.peer_n


def _seed(cell: Cell) -> float:
    return peers.seed_calls(FUNCTIONS[cell.work], cell.peer_n, cell.in_flight) / cell.peer_n


def _ours(cell: Cell, n: int) -> float:
    if cell.work == "await_rust":
        return peers.ours_await_rust(await_rust, n, cell.in_flight) / n
    return peers.ours_calls(FUNCTIONS[cell.work], n, cell.in_flight) / n


def _off(cell: Cell) -> float:
    peers.ours_detail("off")
    return _ours(cell, cell.n)


class _Traced:
    """One traced variant and what its recorder lost."""

    def __init__(self, folder: str | None) -> None:
        self.folder = folder
        self.lost = 0

    def __call__(self, cell: Cell) -> float:
        n = cell.n if self.folder is None else cell.n // FILE_SHARE
        path = None if self.folder is None else str(Path(self.folder) / "trace.jsonl")
        peers.ours_detail("full")
        peers.ours_sink(path)
        before = peers.ours_stats()
        try:
            took = _ours(cell, n)
            got = {name: after - before[name] for name, after in peers.ours_stats().items()}
        finally:
            peers.ours_detach()
            peers.ours_detail("off")
        calls = 2 if cell.work == "await_rust" else n + WARM_UP
        # A call that was never joined is as lost as a record that was dropped.
        self.lost += max(got["dropped"], got["incomplete"], calls - got["calls"])
        return took


def cell_rows(index: int, repeats: int, placement: str) -> Job:
    """Measure one cell: rounds of all variants, in rotating order, after a discarded one."""
    cell = CELLS[index]
    with tempfile.TemporaryDirectory(prefix="gilscope-bench-") as folder:
        null, file = _Traced(None), _Traced(folder)
        variants: dict[str, Variant] = {"peer": _peer, "off": _off, "null": null, "file": file}
        if cell.work != "await_rust":
            variants["seed"] = _seed  # the seed had no Rust awaitables
        took = yield from _rounds(cell, variants, repeats)
    us = {name: median(times) * 1e6 for name, times in took.items()}
    for sink, traced in (("null", null), ("file", file)):
        row = {
            "work": cell.work,
            "in_flight": cell.in_flight,
            "placement": placement,
            "peer_us": round(us["peer"], 3),
            "seed_us": round(us["seed"], 3) if "seed" in us else None,
            "sink": sink,
            "ours_on_us": round(us[sink], 3),
            "ours_off_us": round(us["off"], 3),
            "ratio_on": round(us["peer"] / us[sink], 2),
            "dropped": traced.lost,
        }
        yield {"row": row}


def _rounds(cell: Cell, variants: dict[str, Variant], repeats: int) -> Rounds:
    took: dict[str, list[float]] = {name: [] for name in variants}
    names = list(variants)
    for turn in range(repeats + 1):
        yield {"progress": f"{cell.label}: round {turn} of {repeats}"}
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            seconds = variants[name](cell)
            if turn:
                took[name].append(seconds)
    return took


def spans(bursts: int) -> Job:
    """Cost of one span to the thread that records it, traced and off."""
    peers.ours_sink(None)
    peers.ours_detail("full")
    on = peers.span_cost(bursts)
    peers.ours_detail("off")
    yield {"span_on_ns": round(on, 2), "span_off_ns": round(peers.span_cost(bursts), 2)}


def fairness(repeats: int) -> Job:
    """O5: p99 of 10,000 fast calls alone and beside one slow call."""
    peers.ours_sink(None)
    peers.ours_detail("full")
    alone: list[float] = []
    beside: list[float] = []
    for turn in range(repeats + 1):
        yield {"progress": f"fast calls beside a slow one: round {turn} of {repeats}"}
        pair = (_p99(with_slow=False), _p99(with_slow=True))
        if turn:
            alone.append(pair[0])
            beside.append(pair[1])
    yield {"alone_us": median(alone), "beside_us": median(beside)}


def _p99(*, with_slow: bool) -> float:
    took = peers.ours_latency(immediate, 10_000, 64, slow if with_slow else None)
    return sorted(took)[len(took) * 99 // 100] / 1e3
