"""Processes that end right after their calls, or in the middle of them: no crash, hang or noise."""

from __future__ import annotations

from typing import Any

import pytest

AWAITED = ["awaited-call", "awaited-submit", "awaited-call_async", "awaited-rust"]
IN_FLIGHT = ["suspended", "busy", "rust-pending", "submitting", "threads", "full-queue"]
IN_C = ["step", "throw", "start", "callback", "finalizer", "courier"]
# Threads of the user's.
IN_C += ["submitting", "calling", "awaiting", "result", "mapping", "checking", "spans", "dropping"]
IN_C += ["tasks"]
AWAITING = ["slow-stop", "held-then-stop", "slow-task", "spinning-task", "held-by-task"]
AWAITING += ["let-go-then-stop"]
AWAITING += ["endless-stop"]  # abandoned in the end
# "return" and "exit" leave Python and the runtime running: the process ends under them.
WAYS = ["guard", "guard-finalize", "finalize", "return", "exit"]


@pytest.mark.parametrize("way", AWAITED)
def test_l13_exit_after_every_call_was_awaited(ends: Any, way: str) -> None:
    exits = ends.python(way, share=len(AWAITED))
    assert exits.clean, exits


@pytest.mark.parametrize("way", WAYS)
def test_l13_embedded_exit_after_every_call_was_awaited(ends: Any, embedded: Any, way: str) -> None:
    exits = ends.embedded(embedded, "awaited", way, share=len(WAYS))
    assert exits.clean, exits


def test_l7_l14_exit_with_everything_in_flight(ends: Any) -> None:
    exits = ends.python("everything")
    assert exits.clean, exits


@pytest.mark.parametrize("situation", IN_FLIGHT)
def test_l7_l14_exit_with_calls_in_flight(ends: Any, situation: str) -> None:
    exits = ends.python(situation, share=len(IN_FLIGHT))
    assert exits.clean, exits


@pytest.mark.parametrize("situation", ["held", "spin"])
def test_l7_l14_exit_with_the_loop_held(ends: Any, situation: str) -> None:
    # Each takes the two seconds that a held loop gets at exit, so a part of the number has to do.
    exits = ends.python(situation, share=8)
    assert exits.clean, exits


@pytest.mark.parametrize("situation", AWAITING)
def test_l7_l14_exit_interrupts_only_what_holds_the_loop(ends: Any, situation: str) -> None:
    # As above: each takes two or three seconds.
    exits = ends.python(situation, program="on_stop.py", share=10)
    assert exits.clean, exits


@pytest.mark.parametrize("where", IN_C)
def test_l7_l14_exit_with_threads_that_come_back_from_c(ends: Any, where: str) -> None:
    exits = ends.python(where, "gone", program="in_c.py", share=len(IN_C))
    assert exits.clean, exits


def test_l7_l14_exit_with_threads_past_the_bound(ends: Any) -> None:
    # As above: each takes as long as the exit handler tries.
    exits = ends.python("step", "bound", program="in_c.py", share=8)
    assert exits.clean, exits


@pytest.mark.parametrize("way", WAYS)
def test_l7_l14_embedded_exit_with_threads_that_come_back_from_c(
    ends: Any, embedded: Any, way: str
) -> None:
    exits = ends.embedded(embedded, "in-c", way, share=len(WAYS))
    assert exits.clean, exits


@pytest.mark.parametrize("way", WAYS)
def test_l7_l14_embedded_exit_with_everything_in_flight(ends: Any, embedded: Any, way: str) -> None:
    exits = ends.embedded(embedded, "everything", way, share=1 if way == "guard" else len(WAYS))
    assert exits.clean, exits


@pytest.mark.parametrize("situation", IN_FLIGHT)
def test_l7_l14_embedded_exit_with_calls_in_flight(
    ends: Any, embedded: Any, situation: str
) -> None:
    exits = ends.embedded(embedded, situation, "guard-finalize", share=len(IN_FLIGHT))
    assert exits.clean, exits
