"""Forks on the loop thread: the child can call, and leaves its parent's loop alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def test_l6_a_child_that_is_forked_inside_a_call_can_call(forking: Callable[[str], str]) -> None:
    code = """
    import multiprocessing

    rt = gilscope.PyRuntime("before")

    def child():
        for way in (rt.call, rt.submit):
            try:
                way(double, 1)
            except gilscope.RuntimeStopped as error:
                assert "fork" in str(error), error
            else:
                raise AssertionError("the old handle took a call")
        fresh = gilscope.py_runtime()
        assert fresh.call(double, 21) == 42
        assert fresh.submit(double, 3).result(30) == 6
        assert fresh.call(forked, lambda: gilscope.py_runtime().call(double, 1)) is None
        with gilscope.PyRuntime("another") as another:
            assert another.call(double, 4) == 8

        async def main():
            return await asyncio.gather(fresh.call_async(double, 5), double(6))

        assert asyncio.run(main()) == [10, 12]

    async def forks():
        forked(child)
        await asyncio.sleep(0)
        forked(child)

    def forks_a_process():
        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join(60)
        return process.exitcode

    rt.call(forked, child)
    rt.call(forks)
    rt.options(thread=True).call(forked, child)
    assert rt.call(forks_a_process) == 0
    assert rt.call(double, 3) == 6
    print("parent")
    """
    assert forking(code) == "parent\n"


def test_l6_a_child_that_comes_back_to_its_parents_loop_ends(forking: Callable[[str], str]) -> None:
    code = """
    # What the children say and do, in files that they share with their parent.
    words, calls = open("words", "a+"), open("calls", "ab", buffering=0)
    errors = os.dup(2)
    os.dup2(words.fileno(), 2)

    async def ran(x):
        calls.write(b".")
        return x

    async def comes_back():
        return os.fork()

    async def exits():
        pid = os.fork()
        if pid == 0:
            sys.exit(7)
        return pid

    async def awaits(what):
        pid = os.fork()
        if pid == 0:
            await what()
        return pid

    async def task(body):
        return await asyncio.create_task(body())

    def fails():
        pid = os.fork()
        if pid == 0:
            raise ValueError("failed in the child")
        return pid

    async def nothing():
        pass

    forks = [
        (os.fork, 1, "sys.exit"),
        (comes_back, 1, "sys.exit"),
        (exits, 7, ""),
        (fails, 1, "failed in the child"),
        (task, 1, "sys.exit", comes_back),
        (task, 7, "", exits),
        (awaits, 1, "sys.exit", lambda: asyncio.sleep(0)),
        (awaits, 1, "no running event loop", lambda: asyncio.sleep(1)),
        (awaits, 1, "no running event loop", lambda: gilscope.rust.sleep(0)),
        (awaits, 1, "sys.exit", nothing),
    ]
    for fork, code, word, *args in forks:
        calls.truncate(0), words.truncate(0)
        with gilscope.PyRuntime(max_in_flight=3) as rt:
            queued = rt.submit(fork, *args)
            others = [rt.submit(ran, i) for i in range(20)]
            child = queued.result(30)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == code, fork
            assert [other.result(30) for other in others] == list(range(20))
            assert os.path.getsize("calls") == 20, "the child ran its parent's calls"
            # The parent's loop still hears its bell.
            assert [rt.submit(double, i).result(30) for i in range(20)] == [*range(0, 40, 2)]
        words.seek(0)
        said = words.read()
        assert word in said if word else not said, (fork, said)
    os.dup2(errors, 2)
    print("parent")
    """
    assert forking(code) == "parent\n"


def test_l6_a_child_that_exits_in_a_hook_or_a_callback_ends_as_it_wants(
    forking: Callable[[str], str],
) -> None:
    code = """
    import threading

    codes = []

    def child_exits(code):
        pid = os.fork()
        if pid == 0:
            sys.exit(code)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    def hook(code):
        async def hook():
            child_exits(code)
        return hook

    with gilscope.PyRuntime(on_start=hook(0), on_stop=hook(3)) as rt:
        told = threading.Event()
        rt.submit_callback(lambda _: (child_exits(5), told.set()), int)
        assert told.wait(60)
        go_on = threading.Event()
        rt.submit(go_on.wait).add_done_callback(lambda _: child_exits(6))
        go_on.set()
        rt.call(int)
    assert codes == [0, 5, 6, 3], codes
    print("parent")
    """
    assert forking(code) == "parent\n"


@pytest.mark.parametrize("factory", ["None", "asyncio.new_event_loop"])
@pytest.mark.parametrize("detail", ["off", "full"])
def test_l6_a_child_that_is_forked_in_a_task_runs_nothing_more_of_its_parents(
    forking: Callable[[str], str], factory: str, detail: str
) -> None:
    code = f"""
    from gilscope import _native

    _native.trace_detail({detail!r})
    words, ran = open("words", "a+"), open("ran", "ab", buffering=0)
    children = []

    async def forks():
        children.append(os.fork())

    def work():
        ran.write(b".")

    async def other():
        work()

    async def body():
        loop = asyncio.get_running_loop()
        tasks = [asyncio.create_task(forks()), asyncio.create_task(other())]
        loop.call_soon(work)
        await tasks[0]
        work()
        await tasks[1]
        work()

    with gilscope.PyRuntime(loop_factory={factory}) as rt:
        errors = os.dup(2)
        os.dup2(words.fileno(), 2)
        rt.call(body)
        assert os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 1
        os.dup2(errors, 2)
        assert rt.call(double, 1) == 2
    assert os.path.getsize("ran") == 4, os.path.getsize("ran")
    words.seek(0)
    assert "sys.exit" in words.read()
    print("parent")
    """
    assert forking(code) == "parent\n"
