"""The printed table, and the bars that the figures are held against."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from benchlib.child import Message
from benchlib.work import CALL_BYTES_ABOVE_TASK, CELLS, FAIR_RATIO, SPAN_OFF_NS, SPAN_ON_NS, Cell

HEAD = (
    f"{'':16}{'peer µs':>9}{'seed µs':>9}{'off µs':>8}{'on µs':>8}{'on ×':>7}"
    f"{'bar':>6}{'lost':>6}{'file µs':>9}{'file ×':>8}{'lost':>7}"
)


@dataclass
class Figures:
    """All that a run measured: rows as in the JSON, and the figures that stand alone."""

    rows: list[Message]
    span_on_ns: float
    span_off_ns: float
    bytes_per_call: float
    asyncio_task_bytes: float
    fair_alone_us: float
    fair_beside_us: float

    def as_json(self) -> Message:
        """Return what `target/bench.json` holds."""
        return {
            "rows": self.rows,
            "span_on_ns": self.span_on_ns,
            "span_off_ns": self.span_off_ns,
            "bytes_per_call": self.bytes_per_call,
            "asyncio_task_bytes": self.asyncio_task_bytes,
        }


def line(cell: Cell, null: Message, file: Message) -> str:
    """One printed row; the bar column holds the goal where the placement only reports."""
    bar = cell.bar if null["placement"] == "pinned" else cell.goal
    seed = "-" if null["seed_us"] is None else f"{null['seed_us']:.2f}"
    wanted = "-" if bar is None else f"{bar:g}"
    mark = "<" if bar is not None and null["ratio_on"] < bar else " "
    return (
        f"{cell.work:<11}{cell.in_flight:>5}{null['peer_us']:>9.2f}{seed:>9}"
        f"{null['ours_off_us']:>8.2f}{null['ours_on_us']:>8.2f}{null['ratio_on']:>7.1f}"
        f"{mark}{wanted:>5}{null['dropped']:>6}"
        f"{file['ours_on_us']:>9.2f}{file['ratio_on']:>8.1f}{file['dropped']:>7}"
    )


def summary(figures: Figures) -> Iterator[str]:
    """Print the figures that are not rows."""
    ratio = figures.fair_beside_us / figures.fair_alone_us
    above = figures.bytes_per_call - figures.asyncio_task_bytes
    yield f"span: {figures.span_on_ns:.1f} ns on, {figures.span_off_ns:.2f} ns off"
    yield (
        f"sleeping call: {figures.bytes_per_call:.0f} bytes, asyncio's own Task "
        f"{figures.asyncio_task_bytes:.0f}, above it {above:+.0f}"
    )
    yield (
        f"O5: p99 of fast calls {figures.fair_alone_us:.0f} µs alone, "
        f"{figures.fair_beside_us:.0f} µs beside a slow call ({ratio:.2f} ×)"
    )


def missed(figures: Figures) -> Iterator[str]:
    """One line for each bar that was not met."""
    yield from _missed_rows(figures.rows)
    above = figures.bytes_per_call - figures.asyncio_task_bytes
    limits = (
        ("span on, ns", figures.span_on_ns, SPAN_ON_NS),
        ("span off, ns", figures.span_off_ns, SPAN_OFF_NS),
        ("bytes of a sleeping call above asyncio's Task", above, CALL_BYTES_ABOVE_TASK),
        (
            "O5, p99 beside a slow call / alone",
            figures.fair_beside_us / figures.fair_alone_us,
            FAIR_RATIO,
        ),
    )
    for what, value, limit in limits:
        if value > limit:
            yield f"{what}: {value:.2f}, the bar is at most {limit:g}"


def _missed_rows(rows: Iterable[Message]) -> Iterator[str]:
    bars = {(cell.work, cell.in_flight): cell for cell in CELLS if cell.bar is not None}
    for row in rows:
        cell = bars.get((row["work"], row["in_flight"]))
        if cell is None or row["placement"] != "pinned" or row["sink"] != "null":
            continue
        if cell.bar is not None and row["ratio_on"] < cell.bar:
            yield f"{cell.label}: {row['ratio_on']:.2f} × the peer, the bar is {cell.bar:g}"
        if row["dropped"]:
            yield f"{cell.label}: {row['dropped']} records or calls lost, the bar is none"
