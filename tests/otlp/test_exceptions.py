"""What a span says of the exception that ended its call: type, message, stack, all bounded."""

from __future__ import annotations

import os
import subprocess
import sys
import weakref
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelcol import Collector


async def inner() -> None:
    raise KeyError("inner")


async def chained() -> None:
    try:
        await inner()
    except KeyError as error:
        raise ValueError("outer") from error


async def during() -> None:
    try:
        await inner()
    except KeyError:
        raise ValueError("outer")  # noqa: B904 - what is tested


async def from_none() -> None:
    try:
        await inner()
    except KeyError:
        raise ValueError("outer") from None


def frames(stack: str) -> list[str]:
    """Its lines, without the places of frames."""
    lines = [
        line.split(", line ")[0] + ", in " + line.split(", in ")[1] if ", line " in line else line
        for line in stack.splitlines()
    ]
    return [line.replace(f'File "{__file__}"', "here") for line in lines]


HEAD = "Traceback (most recent call last):"
INNER = [HEAD, "  here, in {}", "  here, in inner", "KeyError: 'inner'", ""]


@pytest.mark.parametrize(
    ("fun", "before"),
    [
        (chained, "The above exception was the direct cause of the following exception:"),
        (during, "During handling of the above exception, another exception occurred:"),
        (from_none, None),
    ],
)
def test_exception_has_its_stack_and_what_it_was_raised_from(
    told: Callable[..., dict[str, str]], fun: Callable[..., Any], before: str | None
) -> None:
    event = told(fun, ValueError)
    assert event["exception.type"] == "ValueError"
    assert event["exception.message"] == "outer"
    own = [HEAD, f"  here, in {fun.__name__}", "ValueError: outer"]
    first = [line.format(fun.__name__) for line in INNER] + [before, ""] if before else []
    assert frames(event["exception.stacktrace"]) == first + own


def test_exception_of_a_child_task_is_told_as_that_of_a_call(
    told: Callable[..., dict[str, str]],
) -> None:
    event = told(chained, ValueError, kind="task")
    assert event["exception.type"] == "ValueError"
    assert event["exception.message"] == "outer"
    stack = frames(event["exception.stacktrace"])
    assert stack[-3:] == [HEAD, "  here, in chained", "ValueError: outer"]
    assert stack[: len(INNER)] == [line.format("chained") for line in INNER]


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
@pytest.mark.parametrize("shape", ["cycle", "deep"])
def test_e10_chain_without_an_end_is_cut(
    told: Callable[..., dict[str, str]], link: str, shape: str
) -> None:
    async def raises() -> None:
        errors = [ValueError(str(number)) for number in range(2 if shape == "cycle" else 10_000)]
        for error, other in zip(errors, errors[1:] + errors[:1], strict=True):
            setattr(error, link, other)
        if shape == "deep":
            setattr(errors[-1], link, None)
        raise errors[0]

    stack = told(raises, ValueError)["exception.stacktrace"]
    assert stack.startswith("[what went before is left out]\n")
    assert stack.count("ValueError: ") == (2 if shape == "cycle" else 8)
    assert stack.endswith("ValueError: 0\n")


def test_e10_stack_without_an_end_is_cut(told: Callable[..., dict[str, str]]) -> None:
    def deeper(depth: int) -> None:
        if depth == 0:
            raise ValueError("deep")
        deeper(depth - 1)

    async def raises() -> None:
        deeper(500)

    stack = told(raises, ValueError)["exception.stacktrace"]
    assert stack.count("in deeper") == 50
    assert "  [452 frames are left out]\n" in stack


def test_e10_of_a_chain_that_is_too_long_the_exception_itself_is_kept(
    told: Callable[..., dict[str, str]],
) -> None:
    def long(number: int) -> str:
        return f"{number} {'é' * 1500} {number}"

    async def raises() -> None:
        errors = [ValueError(long(number)) for number in range(8)]
        for error, other in pairwise(errors):
            error.__cause__ = other
        raise errors[0]

    stack = told(raises, ValueError)["exception.stacktrace"]
    assert 12 << 10 < len(stack.encode()) <= 16 << 10
    assert stack.startswith("[what went before is left out]\n")
    assert stack.endswith(f"in raises\nValueError: {long(0)}\n")
    assert f"ValueError: {long(4)}\n" in stack
    assert "ValueError: 5" not in stack


def test_e11_deep_groups_are_told_without_recursion(told: Callable[..., dict[str, str]]) -> None:
    async def raises() -> None:
        error: Exception = ValueError("at the bottom")
        for _ in range(1000):
            # Long in itself, and raised from one that is as long.
            group = ExceptionGroup("group " * 1000, [error, error])
            group.__cause__, error = error, group
        raise error

    event = told(raises, ExceptionGroup)
    assert event["exception.message"] == ("group " * 1000)[: 1 << 10]
    stack = event["exception.stacktrace"]
    assert 8 << 10 < len(stack.encode()) <= 16 << 10
    assert stack.startswith("[what went before is left out]\n")
    # Once in each group of the chain.
    first = stack.count("  +---------------- 1 -")
    assert first == stack.count("  | ValueError: at the bottom\n") > 0


class Stubborn(Exception):
    """Not to be pickled, nor weakly referenced, and with much to say."""

    __slots__ = ()

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError("not to be pickled")


def test_e12_exception_that_cannot_be_copied_is_cut(told: Callable[..., dict[str, str]]) -> None:
    error = Stubborn("é" * 10_000_000)
    with pytest.raises(TypeError, match="weak reference"):
        weakref.ref(error)

    async def raises() -> None:
        raise error

    event = told(raises, error)
    assert event["exception.message"] == "é" * 512
    assert len(event["exception.stacktrace"].encode()) <= 16 << 10


def test_what_is_redacted_has_a_type_and_a_status_only(collector: Collector) -> None:
    code = """if True:
        import sys, gilscope
        import asyncio
        from opentelemetry import trace
        async def child(): raise KeyError("secret")
        async def raises():
            try:
                await asyncio.create_task(child())
            except KeyError:
                raise ValueError("secret")
        async def says():
            trace.get_current_span().set_status(trace.StatusCode.ERROR, "secret")
        async def grouped():
            error = KeyError("secret")
            error.add_note("secret")
            raise ExceptionGroup("secret", [error])
        with gilscope.instrument(otlp=sys.argv[1]) as export, gilscope.PyRuntime() as rt:
            rt.submit(raises).exception()
            rt.call(says)
            rt.submit(grouped).exception()
            rt.shutdown()
            export.close()
        assert sum(export.lost.values()) == 0
    """
    command = [sys.executable, "-c", code, collector.url("http/protobuf")]
    subprocess.run(command, env={**os.environ, "GILSCOPE_REDACT": "1"}, check=True, timeout=30)
    collector.stop()
    told = {"raises": "ValueError", "child": "KeyError", "grouped": "ExceptionGroup"}
    for name, error in told.items():
        (span,) = (s for s in collector.receiver.spans() if s["name"].endswith(name))
        (event,) = span["events"]
        (pair,) = event["attributes"]
        assert (pair["key"], pair["value"]["stringValue"]) == ("exception.type", error)
        assert span["attributes"]["error.type"] == error
    (said,) = (s for s in collector.receiver.spans() if s["name"].endswith("says"))
    assert said["status"] == {"code": 2}
    assert "secret" not in str(collector.receiver.requests)
