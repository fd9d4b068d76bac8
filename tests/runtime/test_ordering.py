"""What is promised about order, and nothing more."""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

ALGEBRA = ["enqueue", "queued", "gil.wait", "ready", "poll", "suspended", "callback"]


async def echo(x: object) -> object:
    await asyncio.sleep(0)
    return x


def in_threads(n: int, work: Any) -> None:
    threads = [threading.Thread(target=work, args=(i,)) for i in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


@pytest.mark.parametrize("queue_size", [2000, 2], ids=["with_room", "through_a_full_queue"])
def test_o1_each_threads_calls_start_in_its_order(queue_size: int) -> None:
    started: dict[int, list[int]] = {}

    async def start(thread: int, i: int) -> None:
        started.setdefault(thread, []).append(i)
        await asyncio.sleep(0)

    def produce(thread: int) -> None:
        for future in [rt.submit(start, thread, i) for i in range(400)]:
            future.result(30)

    with gilscope.PyRuntime("ordered", queue_size=queue_size) as rt:
        in_threads(4, produce)
    assert started == {thread: list(range(400)) for thread in range(4)}


def called(rt: gilscope.PyRuntime, fun: Any, n: int) -> None:
    rt.call(fun, n)


def awaited(rt: gilscope.PyRuntime, fun: Any, n: int) -> None:
    async def main() -> None:
        await rt.call_async(fun, n)

    asyncio.run(main())


def refused_until_there_is_room(rt: gilscope.PyRuntime, fun: Any, n: int) -> None:
    while True:
        try:
            rt.options(full="fail").submit(fun, n).result(30)
        except gilscope.QueueFull:
            continue
        return


def told(rt: gilscope.PyRuntime, fun: Any, n: int) -> None:
    done = threading.Event()
    rt.submit_callback(lambda _: done.set(), fun, n)
    assert done.wait(30)


@pytest.mark.parametrize("last", [called, awaited, refused_until_there_is_room, told])
@pytest.mark.parametrize("queue_size", [1, 4])
def test_o1_whatever_way_a_thread_calls(last: Any, queue_size: int) -> None:
    started: list[int] = []
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert free.wait(30)

    async def start(i: int) -> None:
        started.append(i)

    with gilscope.PyRuntime(queue_size=queue_size) as rt:
        rt.submit(hold)
        assert held.wait(30)
        futures = [rt.submit(start, i) for i in range(100)]
        soon = threading.Timer(0.1, free.set)
        soon.start()
        last(rt, start, 100)
        assert started == list(range(101))
        assert all(future.result(30) is None for future in futures)
        soon.join()


def test_o1_from_rust_through_a_full_queue(ext: ModuleType) -> None:
    started: list[int] = []

    async def start(i: int) -> int:
        started.append(i)
        return i

    runtime = ext.Runtime(queue_size=2, max_in_flight=1)
    arrived = ext.burst(start, 300, runtime=runtime)
    assert started == list(range(300))
    assert [(i, value) for i, _, value in arrived] == [(i, i) for i in range(300)]
    assert runtime.shutdown("cancel", 10)[2]


def test_o2_outcomes_come_in_the_order_in_which_they_got_ready(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    order: list[int] = []
    waiting: dict[int, asyncio.Future[None]] = {}

    async def ends(i: int) -> None:
        if i < 50:
            waiting[i] = asyncio.get_running_loop().create_future()
            await waiting[i]
        else:  # all at once, in an order of its own, so that they are delivered together
            for j in range(50):
                waiting[j * 7 % 50].set_result(None)
        order.append(i)

    arrived = [i for i, ok, _ in ext.burst(ends, 51) if ok]
    assert order == [50, *(j * 7 % 50 for j in range(50))]
    assert arrived == order


def test_o1_a_producer_that_awaits_none_of_its_calls(ext: ModuleType) -> None:
    for queue_size in (2, 8) * 5:
        started: list[int] = []

        async def start(number: int) -> None:
            started.append(number)  # noqa: B023 - one runtime after the other

        runtime = ext.Runtime(queue_size=queue_size)
        ext.one_producer(start, 500, runtime)
        assert started == list(range(500))
        assert runtime.shutdown("drain", 10)[2]


def test_o2_for_submitted_futures_too(rt: gilscope.PyRuntime) -> None:
    arrived: list[int] = []
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        assert free.wait(30)

    rt.submit(hold)
    assert held.wait(30)
    futures = [rt.submit(echo, i) for i in range(500)]
    for i, future in enumerate(futures):
        future.add_done_callback(lambda _, i=i: arrived.append(i))
    free.set()
    assert [future.result(30) for future in futures] == list(range(500))
    assert rt.call(echo, 1) == 1
    assert arrived == list(range(500))


def test_o3_across_threads_only_counts_are_promised(rt: gilscope.PyRuntime) -> None:
    total = 0

    async def add(n: int) -> int:
        nonlocal total
        before = total
        total += n  # atomic between awaits: one loop thread
        return before

    seen: list[int] = []

    def produce(_: int) -> None:
        mine = [rt.call(add, 1) for _ in range(200)]
        assert mine == sorted(mine)
        seen.extend(mine)

    in_threads(4, produce)
    assert sorted(seen) == list(range(800))


def test_o4_every_call_goes_through_its_stations_in_order(
    ext: ModuleType, default_rt: gilscope.PyRuntime
) -> None:
    async def hops(i: int) -> int:
        for _ in range(i % 4):
            await asyncio.sleep(0)
        return i

    with gilscope.trace() as trace:
        assert ext.flood(hops, 100, 16) == list(range(100))
        futures = [default_rt.submit(hops, i) for i in range(100)]
        assert [future.result(10) for future in futures] == list(range(100))
        default_rt.call(echo, 1)
        spans = trace.spans
    calls = [span for span in spans if span["span"] == "call" and "hops" in span["name"]]
    assert len(calls) == 200
    for call in calls:
        parts = [span for span in spans if span["parent"] == call["id"]]
        assert [span["span"] for span in parts] == sorted(
            (span["span"] for span in parts),
            key=lambda name: ALGEBRA.index("poll" if name == "suspended" else name),
        )
        assert parts[0]["start_ns"] == call["start_ns"]
        for before, after in itertools.pairwise(parts):
            assert before["start_ns"] + before["dur_ns"] == after["start_ns"]
        assert sum(span["dur_ns"] for span in parts) == call["dur_ns"]
        assert [span["span"] for span in parts].count("poll") == call["polls"]


@pytest.mark.parametrize("by", ["python", "rust"])
def test_o4_the_logical_clock_and_the_trace_agree(
    ext: ModuleType, default_rt: gilscope.PyRuntime, by: str
) -> None:
    each, producers = 150, 4
    clock = itertools.count(1)  # one tick is atomic: no Python code runs in it
    submitted: dict[int, int] = {}
    entered: dict[int, int] = {}
    called_back: dict[int, int] = {}
    ids: dict[int, int] = {}
    arrived = threading.Semaphore(0)

    async def body(i: int) -> None:
        entered[i] = next(clock)
        for _ in range(i % 3):
            await asyncio.sleep(0)

    def back(i: int) -> None:
        called_back[i] = next(clock)
        arrived.release()

    def produce(producer: int) -> None:
        for i in range(producer * each, (producer + 1) * each):
            callback = lambda _, i=i: back(i)  # noqa: E731
            submitted[i] = next(clock)
            if by == "python":
                ids[i] = default_rt.submit_callback(callback, body, i)
            else:
                ids[i] = ext.send("python", body, i, callback=callback).id

    with gilscope.trace() as trace:
        in_threads(producers, produce)
        for _ in range(producers * each):
            assert arrived.acquire(timeout=30)
        default_rt.call(echo, 1)
        spans = trace.spans
    assert len(set(ids.values())) == producers * each
    assert all(submitted[i] < entered[i] < called_back[i] for i in ids)

    starts = {s["id"]: s["start_ns"] for s in spans if s["span"] == "call"}
    ends = {s["id"]: s["start_ns"] + s["dur_ns"] for s in spans if s["span"] == "call"}
    polls: dict[str, int] = {}
    callbacks: dict[str, int] = {}
    for span in spans:
        if span["span"] == "poll":
            polls.setdefault(span["parent"], span["start_ns"])
        elif span["span"] == "callback":
            callbacks[span["parent"]] = span["start_ns"]

    def at(stamps: dict[str, int], calls: Any) -> list[int]:
        return [stamps[f"{ids[i]:016x}"] for i in calls]

    for first in range(0, producers * each, each):
        mine = sorted(range(first, first + each), key=submitted.__getitem__)
        assert at(starts, mine) == sorted(at(starts, mine))
    begun = sorted(ids, key=entered.__getitem__)
    assert at(polls, begun) == sorted(at(polls, begun))
    ended = sorted(ids, key=called_back.__getitem__)
    assert at(ends, ended) == sorted(at(ends, ended))
    for i in ids:
        ((start,), (poll,), (callback,), (end,)) = (
            at(stamps, [i]) for stamps in (starts, polls, callbacks, ends)
        )
        assert start < poll < callback <= end
