"""What user code does to the loop: stop, close, collect, threads, switching."""

from __future__ import annotations

import asyncio
import ctypes
import threading
from typing import Any

import pytest

import gilscope


async def echo(x: object) -> object:
    await asyncio.sleep(0)
    return x


def test_l1_loop_stop_inside_a_coroutine_is_survived(rt: gilscope.PyRuntime, gate: Any) -> None:
    async def stop() -> str:
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.01)
        return "went on"

    before = rt.submit(gate, 1)
    assert gate.started.wait(10)
    assert [rt.call(stop) for _ in range(3)] == ["went on"] * 3
    gate.open()
    assert before.result(10) == (1,)
    assert not rt.is_stopped


@pytest.mark.parametrize("thrown", [KeyboardInterrupt, SystemExit, RuntimeError])
def test_l1_what_is_thrown_into_the_thread_of_an_idle_loop_loses_no_wake(
    rt: gilscope.PyRuntime, thrown: type[BaseException]
) -> None:
    # Raised as the loop is woken, before it has looked what by; interrupts at exit may be, too.
    throw = ctypes.pythonapi.PyThreadState_SetAsyncExc
    ident = rt.call(threading.get_ident)
    for number in range(20):
        throw(ctypes.c_ulong(ident), ctypes.py_object(thrown))
        call = rt.submit(echo, number)  # where the loop was not idle yet, the call may raise it
        assert call.exception(10) is not None or call.result(10) == number
    assert rt.call(threading.get_ident) == ident


def test_l3_loop_close_inside_a_coroutine_is_refused_by_asyncio(
    rt: gilscope.PyRuntime, gate: Any
) -> None:
    async def close() -> None:
        asyncio.get_running_loop().close()

    before = rt.submit(gate, 1)
    assert gate.started.wait(10)
    with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
        rt.call(close)
    gate.open()
    assert before.result(10) == (1,)


def test_l3_a_loop_that_is_really_closed_gives_runtime_stopped(gate: Any) -> None:
    class Closes(asyncio.SelectorEventLoop):
        def run_forever(self) -> None:
            try:
                super().run_forever()
            finally:
                if stopped:
                    self.close()

    stopped: list[int] = []

    async def stop() -> None:
        stopped.append(1)
        asyncio.get_running_loop().stop()

    with gilscope.PyRuntime("closes", loop_factory=Closes) as rt:
        running, stopping = rt.submit(gate), rt.submit(stop)
        with pytest.raises(gilscope.RuntimeStopped, match="closed"):
            running.result(10)
        stopping.exception(10)
        with pytest.raises(gilscope.RuntimeStopped, match="closed"):
            rt.call(echo, 1)


def test_l12_a_loop_that_fails_in_the_end_keeps_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # An interrupt at exit may land in any function of the loop; this one is asked once all is done.
    monkeypatch.setattr(threading, "excepthook", lambda _: None)

    class Fails(asyncio.SelectorEventLoop):
        def is_closed(self) -> bool:
            if failing:
                failing.pop()
                raise SystemExit
            return super().is_closed()

    failing: list[int] = []
    made: list[Fails] = []

    def factory() -> Fails:
        made.append(Fails())
        return made[0]

    async def on_stop() -> None:
        failing.extend([1, 1])  # for `drive`, and for who is asked after it

    rt = gilscope.PyRuntime("fails", loop_factory=factory, on_stop=on_stop)
    assert rt.call(echo, 1) == 1
    assert rt.shutdown("cancel", deadline=10)["joined"]
    assert rt.is_stopped
    made[0].close()
