"""Options: what is given later wins, and what makes no sense is refused before any call."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from typing import TYPE_CHECKING, Any

import pytest

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

VARIABLE = contextvars.ContextVar("VARIABLE", default="unset")
NO_TEXT = "a value whose __repr__ raised"


def test_options_on_options_add_up_and_the_later_ones_win(rt: gilscope.PyRuntime) -> None:
    context = contextvars.copy_context()
    context.run(VARIABLE.set, "given")
    first = rt.options(name="first", context=context, deadline=30)
    second = first.options(name="second", thread=True)
    with gilscope.trace() as trace:
        assert first.call(VARIABLE.get) == "given"
        assert second.call(threading.current_thread) is not rt.call(threading.current_thread)
        assert second.options(thread=False).call(VARIABLE.get) == "given"
        assert second.options(context=None, thread=False).call(VARIABLE.get) == "unset"
    names = [span["name"] for span in trace.spans if span["span"] == "call"]
    assert names[:2] == ["first", "second"]
    assert names[-2:] == ["second", "second"]


def test_options_of_a_deadline_are_kept_and_taken_back(rt: gilscope.PyRuntime) -> None:
    calls = rt.options(deadline=0).options(name="late")
    with pytest.raises(gilscope.DeadlineExceeded):
        calls.call(int)
    assert calls.options(deadline=None).call(int) == 0
    assert rt.options(deadline=0).options(deadline=30).call(int) == 0
    assert rt.call(int) == 0


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError


class Wordy:
    def __repr__(self) -> str:
        return "<wordy\n" + "x" * 100 + ">"


def same() -> None:
    """A function that is no option."""


async def hello(_: object) -> None:
    """Be an async callback, which is refused."""


OPTIONS = [
    ({"deadline": "1"}, TypeError, "deadline must be a number of seconds or None, not '1' (str)"),
    (
        {"deadline": float("nan")},
        ValueError,
        "deadline must be a number of seconds or None, not nan",
    ),
    (
        {"deadline": Unprintable()},
        TypeError,
        f"deadline must be a number of seconds or None, not {NO_TEXT} (Unprintable)",
    ),
    (
        {"context": {"a": 1}},
        TypeError,
        "context must be a contextvars.Context or None, not {'a': 1} (dict)",
    ),
    (
        {"context": Wordy()},
        TypeError,
        "context must be a contextvars.Context or None, not <wordy " + "x" * 73 + "… (Wordy)",
    ),
    ({"name": 5}, TypeError, "name must be a string or None, not 5 (int)"),
    ({"on_drop": "stay"}, ValueError, 'on_drop must be "cancel" or "detach", not \'stay\''),
    ({"on_drop": 1}, TypeError, 'on_drop must be "cancel" or "detach", not 1 (int)'),
    ({"full": "wait "}, ValueError, 'full must be "wait" or "fail", not \'wait \''),
    ({"full": b"wait"}, TypeError, 'full must be "wait" or "fail", not b\'wait\' (bytes)'),
    ({"thread": "yes"}, TypeError, "thread must be True or False, not 'yes' (str)"),
]


@pytest.mark.parametrize(("options", "kind", "text"), OPTIONS)
def test_options_that_make_no_sense_are_refused_in_one_line(
    rt: gilscope.PyRuntime, options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        rt.options(**options)
    assert (type(caught.value), str(caught.value)) == (kind, text)


AT_LEAST = "an integer of at least 1"
FACTORY = "loop_factory must be a function that returns an event loop, or None"
HOOK = "must be an async function without arguments, or None"
RUNTIMES = [
    ({"queue_size": "x"}, TypeError, f"queue_size must be {AT_LEAST}, not 'x' (str)"),
    ({"queue_size": True}, TypeError, f"queue_size must be {AT_LEAST}, not True (bool)"),
    ({"queue_size": 1.0}, TypeError, f"queue_size must be {AT_LEAST}, not 1.0 (float)"),
    ({"queue_size": 0}, ValueError, f"queue_size must be {AT_LEAST}, not 0"),
    ({"queue_size": -(2**70)}, ValueError, f"queue_size must be {AT_LEAST}, not {-(2**70)}"),
    ({"max_in_flight": 0}, ValueError, f"max_in_flight must be {AT_LEAST}, or None, not 0"),
    ({"threads": "4"}, TypeError, f"threads must be {AT_LEAST}, or None, not '4' (str)"),
    ({"name": b"n"}, TypeError, "name must be a string or None, not b'n' (bytes)"),
    ({"debug": 2}, TypeError, "debug must be True or False, not 2 (int)"),
    ({"loop_factory": "uvloop"}, TypeError, f"{FACTORY}, not 'uvloop' (str)"),
    ({"on_start": 1}, TypeError, f"on_start {HOOK}, not 1 (int)"),
    ({"on_stop": 1}, TypeError, f"on_stop {HOOK}, not 1 (int)"),
]


@pytest.mark.parametrize(("options", "kind", "text"), RUNTIMES)
def test_options_of_a_runtime_that_make_no_sense_are_refused_in_one_line(
    options: dict[str, Any], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        gilscope.PyRuntime(**options)
    assert (type(caught.value), str(caught.value)) == (kind, text)


def test_options_of_a_runtime_beyond_any_machine_are_no_bound() -> None:
    with gilscope.PyRuntime(queue_size=2**100, max_in_flight=2**100) as rt:
        assert rt.call(int) == 0
        assert rt.stats()["pending"] == 0


CALLBACK = "callback must be a plain function that takes an Outcome"
MODES = 'mode must be "drain", "cancel" or "abort"'
FUN = "fun must be a function, with its arguments after it"
COUNT = f"concurrency must be {AT_LEAST}"
# What is done to a runtime, and the error.
DONE: list[tuple[Callable[[Any], object], type[Exception], str]] = [
    (lambda rt: rt.shutdown(mode="x"), ValueError, f"{MODES}, not 'x'"),
    (lambda rt: rt.shutdown(None), TypeError, f"{MODES}, not None"),
    (
        lambda rt: rt.shutdown("drain", deadline="1"),
        TypeError,
        "deadline must be a number of seconds or None, not '1' (str)",
    ),
    (lambda rt: rt.submit_callback(5, int), TypeError, f"{CALLBACK}, not 5 (int)"),
    (
        lambda rt: rt.submit_callback(hello, int),
        TypeError,
        f"{CALLBACK}, not the async function {hello!r}, which nobody would await",
    ),
    (lambda rt: rt.call("f"), TypeError, f"{FUN}, not 'f' (str)"),
    (lambda rt: rt.call_async(None), TypeError, f"{FUN}, not None"),
    (lambda rt: rt.stream(7), TypeError, f"{FUN}, not 7 (int)"),
    (lambda rt: rt.map(int, [], concurrency=0), ValueError, f"{COUNT}, not 0"),
    (lambda rt: rt.map(int, [], concurrency="x"), TypeError, f"{COUNT}, not 'x' (str)"),
]


@pytest.mark.parametrize(("do", "kind", "text"), DONE)
def test_what_makes_no_sense_is_refused_in_one_line(
    rt: gilscope.PyRuntime, do: Callable[[Any], object], kind: type[Exception], text: str
) -> None:
    with pytest.raises(kind) as caught:
        do(rt)
    assert (type(caught.value), str(caught.value)) == (kind, text)
    assert not rt.is_stopped
    assert rt.call(asyncio.sleep, 0, "goes on") == "goes on"


@pytest.mark.parametrize(("seconds", "ends"), [(10**400, False), (-(10**400), True)])
def test_t2_a_deadline_too_large_for_a_float(
    rt: gilscope.PyRuntime, seconds: int, ends: bool
) -> None:
    outcome = rt.options(deadline=seconds).submit(int)
    assert (type(outcome.exception(30)) is gilscope.DeadlineExceeded) == ends


def test_what_cannot_be_hashed_is_refused_in_words() -> None:
    async def main() -> None:
        await gilscope.rust.sha256(3)  # type: ignore[arg-type]

    with pytest.raises(TypeError, match=r"^data must be bytes or a path, not 3 \(int\)$"):
        asyncio.run(main())


def test_what_is_no_duration_or_no_path_is_refused_in_words() -> None:
    with pytest.raises(TypeError, match=r"^seconds must be a number, not 'x' \(str\)$"):
        gilscope.rust.sleep("x")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^path must be a string or a path, not 3 \(int\)$"):
        gilscope.rust.read_file(3)  # type: ignore[arg-type]


def test_what_returns_nothing_in_rust_is_none() -> None:
    async def main() -> object:
        return await gilscope.rust.sleep(0)

    assert asyncio.run(main()) is None
