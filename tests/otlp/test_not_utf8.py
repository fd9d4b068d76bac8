"""Names that are not UTF-8, as those of files may be: their spans are exported all the same."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from accounts import NOTHING
from opentelemetry import trace

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelcol import Collector

# As `os.fsdecode` reads a name in Latin-1, and what no name of a file is read as.
FILES = ["caf\udce9.py", "caf\ud800.py"]
SHOWN = "caf\ufffd"
CODE = """
async def fails():
    import asyncio
    await asyncio.sleep(0)
    raise ValueError("caf\\udce9")
"""


def of_file(name: str) -> Any:
    """A function that is said to be defined in that file, and has a name like it."""
    names: dict[str, Any] = {}
    exec(compile(CODE, "replaced.py", "exec"), names)
    fails = names["fails"]
    fails.__qualname__ = name.removesuffix(".py")
    code = fails.__code__
    fails.__code__ = code.replace(co_filename=name, co_qualname=name.removesuffix(".py"))
    return fails


@pytest.fixture
def to(collector: Collector, settings: Callable[..., None]) -> Collector:
    """Where the variables say that is exported to."""
    settings(EXPORTER_OTLP_ENDPOINT=collector.url("http/protobuf"))
    return collector


@pytest.mark.parametrize("name", FILES, ids=["escaped", "lone"])
def test_call_of_a_file_whose_name_is_not_utf8(to: Collector, name: str) -> None:
    with gilscope.trace() as recorded, gilscope.instrument() as export:
        with gilscope.PyRuntime("caf\udce9") as rt:
            with pytest.raises(ValueError, match="caf"):
                rt.call(of_file(name))
            rt.shutdown()
        export.close()
    assert export.lost == NOTHING
    to.stop()
    came = to.receiver.spans()
    parts = {span["id"] for span in recorded.spans if span["span"] != "loop.turn"}
    assert len(parts) == 9  # two polls, and what is between them
    assert {span["spanId"] for span in came if span["name"] != "loop.turn"} == parts
    by_kind = {span["attributes"]["gilscope.span"]: span for span in came}
    call = by_kind["call"]
    assert call["attributes"]["code.file.path"] == f"{SHOWN}.py"
    assert call["attributes"]["code.function.name"] == SHOWN
    assert by_kind["suspended"]["attributes"]["gilscope.await"] == f"{SHOWN}.py:4 in {SHOWN}"
    assert call["status"]["message"] == SHOWN
    (event,) = call["events"]
    told = {pair["key"]: pair["value"]["stringValue"] for pair in event["attributes"]}
    assert f'File "{SHOWN}.py", line 5, in fails\n' in told["exception.stacktrace"]


def test_thread_whose_name_is_not_utf8(to: Collector) -> None:
    def calls() -> None:
        threading.current_thread().name = "caf\udce9"
        rt.call(int)

    with gilscope.instrument() as export, gilscope.PyRuntime("caf\udce9") as rt:
        thread = threading.Thread(target=calls, name="caf\ud800")
        thread.start()
        thread.join(30)
        assert rt.options(thread=True, name="caf\udce9").call(int) == 0
        rt.shutdown()
        export.close()
    assert export.lost == NOTHING
    to.stop()
    spans = to.receiver.spans()
    assert len(spans) == export.exported
    names = {s["name"] for s in spans if s["attributes"]["gilscope.span"] == "call"}
    assert names == {"builtins.int", SHOWN}
    # Not of turns, which the loops of other tests may have too.
    calls = [span for span in spans if span["attributes"]["gilscope.span"] == "call"]
    threads = {span["attributes"]["thread.name"] for span in calls}
    assert threads == {f"gilscope-{SHOWN}"}


def test_what_user_code_says_that_is_not_utf8(to: Collector) -> None:
    async def says() -> None:
        span = trace.get_current_span()
        span.update_name("caf\udce9")
        span.set_attribute("caf\udce9", "caf\udce9")
        span.set_attributes({"caf\udce9 2": ["caf\udce9"]})
        span.add_event("caf\udce9", {"caf\udce9": 1})
        span.set_status(trace.StatusCode.ERROR, "caf\udce9")

    with gilscope.instrument() as export, gilscope.PyRuntime() as rt:
        rt.call(says)
    export.close()
    assert export.lost == NOTHING
    to.stop()
    (call,) = (s for s in to.receiver.spans() if s["attributes"]["gilscope.span"] == "call")
    assert call["name"] == SHOWN
    assert call["attributes"][SHOWN] == SHOWN
    assert call["attributes"][f"{SHOWN} 2"] == {"values": [{"stringValue": SHOWN}]}
    assert [event["name"] for event in call["events"]] == [SHOWN]
    assert call["status"] == {"code": 2, "message": SHOWN}
