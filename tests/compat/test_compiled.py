"""Coroutines of compiled code: those of uvloop, which Cython made, are what is called."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .conftest import Bounded

LIMIT = 30


def receives(end: socket.socket) -> Coroutine[Any, Any, bytes]:
    """A plain function, so that Cython's coroutine is the call's own."""
    coroutine = asyncio.get_running_loop().sock_recv(end, 10)
    assert type(coroutine).__module__.startswith("_cython"), type(coroutine)
    return coroutine


@pytest.fixture
def on_uvloop(make: Callable[..., Bounded]) -> Iterator[Bounded]:
    bounded = make(loop_factory=uvloop.new_event_loop)
    yield bounded
    assert bounded.left() == set()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        yield ours, theirs


@pytest.mark.parametrize("at_once", [True, False], ids=["at_once", "suspended"])
def test_a9_a_coroutine_of_cython_is_the_call(
    on_uvloop: Bounded, pair: tuple[socket.socket, socket.socket], at_once: bool
) -> None:
    ours, theirs = pair
    calls = on_uvloop.runtime.options(deadline=LIMIT)

    async def awaited() -> bytes:
        return await calls.call_async(receives, theirs)

    def submitted() -> bytes:
        future = calls.submit(receives, theirs)
        if not at_once:
            on_uvloop(asyncio.sleep, 0.01)
            ours.send(b"later")
        return future.result(LIMIT)

    if at_once:
        ours.send(b"now")
        assert calls.call(receives, theirs) == b"now"
        ours.send(b"now")
        assert asyncio.run(awaited()) == b"now"
        ours.send(b"now")
        assert submitted() == b"now"
    else:
        assert submitted() == b"later"


def test_a9_it_raises_and_is_cancelled_as_any_other(
    on_uvloop: Bounded, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair

    def refused() -> Coroutine[Any, Any, Any]:
        return asyncio.get_running_loop().create_connection(asyncio.Protocol, "127.0.0.1", 1)

    with pytest.raises(ConnectionRefusedError):
        on_uvloop(refused)
    future = on_uvloop.runtime.submit(receives, theirs)
    on_uvloop(asyncio.sleep, 0.01)
    assert future.cancel()
    with pytest.raises(asyncio.CancelledError):
        future.result(LIMIT)
    ours.send(b"after")
    assert on_uvloop(receives, theirs) == b"after"
