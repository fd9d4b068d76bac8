"""Forks, signals, exits with live threads, subinterpreters: each in a process of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def test_l6_handles_from_before_a_fork_say_so_and_a_fresh_one_works(
    forking: Callable[[str], str],
) -> None:
    code = """
    default, own = gilscope.py_runtime(), gilscope.PyRuntime("own")
    assert [default.call(double, 1), own.call(double, 2)] == [2, 4]

    def child():
        for old in (default, own):
            for way in (old.call, old.submit):
                try:
                    way(double, 1)
                except gilscope.RuntimeStopped as error:
                    assert "fork" in str(error), error
                else:
                    raise AssertionError("the old handle took a call")
        fresh = gilscope.py_runtime()
        assert fresh.id != default.id
        assert fresh.call(double, 21) == 42
        with gilscope.PyRuntime("another") as another:
            assert another.call(double, 4) == 8
        print("child")

    forked(child)
    assert default is gilscope.py_runtime()
    assert [default.call(double, 3), own.call(double, 4)] == [6, 8]
    print("parent")
    """
    assert forking(code) == "child\nparent\n"


def test_l6_a_fork_with_calls_in_flight_leaves_the_parents_alone(
    forking: Callable[[str], str],
) -> None:
    code = """
    rt = gilscope.py_runtime()

    async def slow(x):
        await asyncio.sleep(0.3)
        return x

    running = [rt.submit(slow, i) for i in range(20)]
    forked(lambda: gilscope.py_runtime().call(double, 1))
    forked(lambda: forked(lambda: gilscope.py_runtime().call(double, 1)))
    assert [future.result(10) for future in running] == list(range(20))
    print("parent")
    """
    assert forking(code) == "parent\n"


def test_l6_calls_from_before_a_fork_have_ended_in_the_child(forking: Callable[[str], str]) -> None:
    code = """
    import threading

    gilscope.stats()
    import gilscope_test_ext as ext

    rt, release, running = gilscope.PyRuntime(queue_size=2), threading.Event(), threading.Event()

    def hold():
        running.set()
        assert release.wait(30)
        return "held"

    async def fails():
        raise ValueError("failed")

    def raised(ask):
        try:
            ask()
        except BaseException as error:
            return error

    ended, failed = rt.submit(double, 1), rt.submit(fails)
    assert (ended.result(30), type(failed.exception(30))) == (2, ValueError)
    started = rt.submit(hold)
    assert running.wait(30)
    queued = [rt.submit(double, i) for i in range(2)]
    waiting = [rt.submit(double, i) for i in range(2, 4)]
    unended = [started, *queued, *waiting]

    def child():
        for future in unended:
            assert (future.done(), future.running(), future.cancel()) == (True, False, False)
            for ask in (future.result, future.exception, lambda: future.result(timeout=0)):
                error = raised(ask)
                assert type(error) is gilscope.RuntimeStopped and "fork" in str(error), error
        assert (ended.done(), ended.cancel(), ended.result()) == (True, False, 2)
        assert type(failed.exception()) is type(raised(failed.result)) is ValueError
        unended.clear()
        assert gilscope.py_runtime().submit(double, 21).result(30) == 42
        print("child")

    forked(child)
    assert not any(future.done() for future in unended)
    release.set()
    assert [future.result(30) for future in unended] == ["held", 0, 2, 4, 6]

    rust, gates = ext.Runtime(queue_size=1), [threading.Event(), threading.Event()]

    def holds():
        gates[0].set()
        assert gates[1].wait(30)
        return "held"

    calls = [ext.kept(holds, runtime=rust)]
    assert gates[0].wait(30)
    calls += [ext.kept(double, i, runtime=rust) for i in range(2)]  # in the queue, and in line
    sent = ext.send("closure", double, 1, runtime=rust, full="fail")
    assert type(sent.refused) is gilscope.QueueFull

    def child():
        for call in calls:
            assert (call.is_done, call.cancel()) == (True, False)
            how, error = call.poll()
            assert type(error) is gilscope.RuntimeStopped and "fork" in str(error), error
        calls.clear()
        assert ext.call(double, 21) == 42
        print("child")

    forked(child)
    assert not any(call.is_done for call in calls)
    gates[1].set()
    for call, outcome in zip(calls, ["held", 0, 2], strict=True):
        while not call.is_done:
            rt.call(double, 1)
        came = call.poll()
        while came is None:
            came = call.poll()
        assert came == ("ok", outcome), came
    """
    assert forking(code) == "child\nchild\n"


def test_l6_a_trace_that_is_open_in_a_fork_stays_the_parents(forking: Callable[[str], str]) -> None:
    code = """
    import json

    def refusal(ask):
        try:
            ask()
        except gilscope.RuntimeStopped as error:
            return str(error)

    def written():
        with open("trace.json", "rb") as file:
            return file.read()

    with gilscope.trace() as ended:
        gilscope.py_runtime().call(double, 1)
    closed = len(ended.spans)
    opened, file = gilscope.trace(), gilscope.trace("trace.json")
    opened.__enter__(), file.__enter__()
    gilscope.py_runtime().call(double, 1)
    gilscope.stats()  # what was recorded has reached the sinks
    before = written()

    def child():
        reads = (lambda: opened.spans, gilscope.trace.memory)
        assert all("fork" in refusal(read) for read in reads)
        own = gilscope.trace()
        own.__enter__()
        for left in (opened, file):
            left.__exit__(None, None, None)
        assert "fork" in refusal(lambda: opened.spans)
        assert gilscope.py_runtime().call(double, 21) == 42
        own.__exit__(None, None, None)
        assert [span["span"] for span in own.spans].count("call") == 1
        assert len(ended.spans) == closed
        assert written() == before
        print("child")
        sys.exit()  # the exit closes what is the child's

    pid = os.fork()
    if pid == 0:
        child()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert written() == before
    gilscope.py_runtime().call(double, 2)
    file.__exit__(None, None, None), opened.__exit__(None, None, None)
    calls = [span["span"] for span in opened.spans].count("call")
    events = json.loads(written())["traceEvents"]
    assert calls == 2 == len([e for e in events if e.get("ph") == "b" and "double" in e["name"]])
    print("parent")
    """
    assert forking(code) == "child\nparent\n"


def test_o6_spans_close_in_the_child_and_in_the_parent(forking: Callable[[str], str]) -> None:
    code = """
    rt, running = gilscope.py_runtime(), []

    async def slow():
        running.append(1)
        await asyncio.sleep(0.3)

    def child():
        assert rt.in_flight() == [], "the parent's calls are not ours"
        with gilscope.trace() as trace:
            fresh = gilscope.py_runtime()
            assert [fresh.call(double, i) for i in range(5)] == [0, 2, 4, 6, 8]
            fresh.shutdown("drain", deadline=10)
        assert len([span for span in trace.spans if span["span"] == "call"]) == 5
        assert rt.in_flight() == []

    with gilscope.trace() as trace:
        future = rt.submit(slow)
        while not running:
            rt.call(double, 1)
        forked(child)
        future.result(10)
        rt.shutdown("drain", deadline=10)
    calls = [span["name"] for span in trace.spans if span["span"] == "call"]
    assert calls.count("__main__.slow") == 1, calls
    assert rt.in_flight() == []
    """
    forking(code)
