"""Rows of the contract that are measured: what is measured, and what counts as a miss."""

from __future__ import annotations

import asyncio
import importlib
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

BENCHES = Path(__file__).parents[2] / "benches"


@pytest.fixture
def measured() -> list[tuple[str, int, bool]]:
    """What the benchmark asked its native half to measure: function, calls, beside a slow one."""
    return []


@pytest.fixture
def bench(
    monkeypatch: pytest.MonkeyPatch, measured: list[tuple[str, int, bool]]
) -> Iterator[SimpleNamespace]:
    """The benchmark's modules; in place of its native half one that answers without measuring."""
    peers: Any = ModuleType("gilscope_peers")
    peers.ours_sink = peers.ours_detail = lambda _: None

    def ours_latency(fun: Any, n: int, in_flight: int, slow: Any = None) -> list[int]:
        measured.append((fun.__name__, n, slow is not None))
        # 98 in 100 take 1 µs; the 99th percentile is 100 µs alone and 150 µs beside a slow call.
        return [1000] * (n * 98 // 100) + [150_000 if slow else 100_000] * (n * 2 // 100)

    peers.ours_latency = ours_latency
    monkeypatch.setitem(sys.modules, "gilscope_peers", peers)
    monkeypatch.syspath_prepend(str(BENCHES))
    yield SimpleNamespace(
        soak=importlib.import_module("soak"),
        bounds=importlib.import_module("benchlib.bounds"),
        measure=importlib.import_module("benchlib.measure"),
        table=importlib.import_module("benchlib.table"),
        work=importlib.import_module("benchlib.work"),
    )
    for name in [name for name in sys.modules if name.partition(".")[0] in ("benchlib", "soak")]:
        del sys.modules[name]


def figures(bench: SimpleNamespace, **fair: float) -> Any:
    """Figures that miss no bar, but for those given."""
    rest = {"span_on_ns": 0, "span_off_ns": 0, "bytes_per_call": 0, "asyncio_task_bytes": 0}
    return bench.table.Figures(rows=[], **rest, **fair)


def test_o5_the_bench_measures_10000_fast_calls_alone_and_beside_a_slow_one(
    bench: SimpleNamespace, measured: list[tuple[str, int, bool]]
) -> None:
    *_, found = bench.measure.fairness(repeats=3)
    assert measured == [("immediate", 10_000, False), ("immediate", 10_000, True)] * 4
    assert found == {"alone_us": 100.0, "beside_us": 150.0}


def test_o5_a_p99_that_more_than_doubles_is_a_miss(bench: SimpleNamespace) -> None:
    assert bench.work.FAIR_RATIO == 2
    assert list(bench.table.missed(figures(bench, fair_alone_us=100, fair_beside_us=200))) == []
    (miss,) = bench.table.missed(figures(bench, fair_alone_us=100, fair_beside_us=201))
    assert miss.startswith("O5")


def test_o5_the_slow_call_of_the_bench_stays_open_and_lets_the_loop_go(
    bench: SimpleNamespace,
) -> None:
    async def main() -> bool:
        slow = asyncio.create_task(bench.work.slow())
        for _ in range(3):
            await asyncio.sleep(0.001)
        open_still = not slow.done()
        slow.cancel()
        return open_still

    assert asyncio.run(asyncio.wait_for(main(), 10))


def test_x6_l4_l7_a_bound_that_is_missed_by_more_than_a_second_fails(
    bench: SimpleNamespace,
) -> None:
    kept = bench.soak.bound("L4", 1.1, [0.6] * 19 + [2.1])
    missed = bench.soak.bound("L4", 1.1, [0.6] * 19 + [2.2])
    assert (kept.ok, missed.ok) == (True, False)
    assert missed.what == "L4 (20 times)"
    assert missed.found == "median 0.60 s, max 2.20 s"
    assert missed.wanted == "1.10 s; fails beyond 2.10 s"


def test_x6_l4_l7_l2_b1_b3_the_soak_measures_each_bound(
    bench: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert bench.bounds.TIMES >= 20
    monkeypatch.setattr(bench.bounds, "TIMES", 1)
    found = list(bench.bounds.bounds())
    kinds = [line["what"][:2] for line in found]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "X6": 5,
        "L4": 3,
        "B1": 1,
        "B3": 1,
        "L2": 1,
        "L7": 3,
    }
    assert all(line["seconds"] for line in found)
