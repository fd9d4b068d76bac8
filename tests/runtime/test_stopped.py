"""After the end: calls to a runtime that was shut down, results for a loop that is closed."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from types import ModuleType

Eventually = "Callable[[Callable[[], object]], None]"
MODES = ["drain", "cancel", "abort"]


async def echo(x: object = None) -> object:
    await asyncio.sleep(0)
    return x


@pytest.mark.parametrize("mode", MODES)
def test_l2_a_submit_after_shutdown_fails_at_once(mode: str) -> None:
    arrived: list[gilscope.Outcome[object]] = []
    rt = gilscope.PyRuntime("gone")
    rt.call(echo)
    rt.shutdown(mode, deadline=10)  # type: ignore[arg-type]
    assert rt.is_stopped
    with pytest.raises(gilscope.RuntimeStopped, match="shut down"):
        rt.submit(echo)
    with pytest.raises(gilscope.RuntimeStopped):
        rt.call(echo)
    with pytest.raises(gilscope.RuntimeStopped):
        asyncio.run(rt.call_async(echo))
    with pytest.raises(gilscope.RuntimeStopped):
        rt.submit_callback(arrived.append, echo)
    assert arrived == []


@pytest.mark.parametrize("kind", ["future", "oneshot", "channel", "closure", "python", "discard"])
def test_l2_from_rust_with_every_callback(
    ext: ModuleType, kind: str, eventually: Eventually
) -> None:
    runtime = ext.Runtime()
    runtime.shutdown("cancel", 10)
    sent = ext.send(kind, echo, runtime=runtime)
    if kind == "future":
        assert [type(what) for _, what in sent.wait()] == [gilscope.RuntimeStopped]
    else:
        assert type(sent.refused) is gilscope.RuntimeStopped
        # Then nothing can arrive any more. A Python callback is let go of by a loop of its library.
        alive = ext.Runtime()
        eventually(lambda: ext.call(echo, runtime=alive) is None and sent.closed)
        assert alive.shutdown("cancel", 10)[2]
        assert sent.arrived == []


def test_l5_a_loop_that_closes_while_rust_completes(
    rt: gilscope.PyRuntime, eventually: Eventually
) -> None:
    before = rt.stats()["loop_closed"]
    noise: list[Any] = []
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda _, context: noise.append(context["message"]))

    async def start() -> None:
        held.append(asyncio.get_running_loop().create_task(gilscope.rust.sleep(0.5)))
        await asyncio.sleep(0)

    held: list[Any] = []
    loop.run_until_complete(start())
    loop.close()
    asyncio.run(gilscope.rust.sleep(0.8))
    assert not held[0].done()
    gone = weakref.ref(loop)
    del loop, held[:]
    eventually(lambda: gc.collect() and rt.stats()["loop_closed"] == before + 1)
    eventually(lambda: gc.collect() >= 0 and gone() is None)
    assert set(noise) <= {"Task was destroyed but it is pending!"}
    assert rt.call(echo, 1) == 1


def test_l2_a_thread_with_the_dead_loop_threads_identity() -> None:
    came: list[tuple[bool, object, bool]] = []

    def use(rt: gilscope.PyRuntime, dead: object) -> None:
        try:
            rt.call(echo)
        except gilscope.GilscopeError as error:
            joined = rt.shutdown("cancel", deadline=10)["joined"]
            came.append((threading.get_ident() == dead, type(error), joined))

    for _ in range(20):
        rt = gilscope.PyRuntime("dead")
        dead = rt.call(threading.get_ident)
        rt.shutdown("cancel", deadline=10)
        thread = threading.Thread(target=use, args=(rt, dead))  # glibc gives it the same identity
        thread.start()
        thread.join(10)
    assert any(same for same, _, _ in came)
    assert [what for _, *what in came] == [[gilscope.RuntimeStopped, True]] * 20
