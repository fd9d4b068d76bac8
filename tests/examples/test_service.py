"""`examples/service`: starts it on a free port, asks it, and ends it."""

from __future__ import annotations

import os
import re
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from otelcol import Collector, build
from serving import LIMIT, service

from gilscope.cli.ask import ask, program
from gilscope.cli.branches import draw
from gilscope.view.html import page
from gilscope.view.reading import read

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
HEADERS = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "a=b"}


def test_handlers_are_python_functions(embedded: Any) -> None:
    with service(embedded) as running:
        assert running.get("/hello/world") == (200, "hello world")
        assert running.get("/relay/world") == (200, "upstream says: hello world")
        assert running.get("/hello/r2d2") == (500, "ValueError: 'r2d2' is no name")
        assert running.get("/nothing")[0] == 404
        running.stop()


def test_an_upstream_that_is_not_there_is_a_503(embedded: Any) -> None:
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and does not listen
        upstream = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with service(embedded, UPSTREAM=upstream) as running:
            status, text = running.get("/relay/world")
            assert status == 503
            assert text.startswith(f"ConnectionError: {upstream} cannot be asked: ")
            running.stop()


def test_what_it_says_to_try_ends_as_it_says(embedded: Any) -> None:
    with service(embedded) as running:
        for remark, curl in running.tries:
            designed = re.search(r"fails by design with status (\d+), ", remark)
            path = curl.rpartition(running.url)[2].strip()
            assert running.get(path)[0] == (int(designed[1]) if designed else 200), curl
        assert [bool(remark) for remark, _ in running.tries] == [False, False, True, True]


def test_it_can_be_asked_what_it_awaits(embedded: Any, capsys: pytest.CaptureFixture[str]) -> None:
    drawn, end = "", time.monotonic() + LIMIT
    with service(embedded, GILSCOPE_TREE="1") as running:
        pid = running.process.pid
        assert running.line() == "  # and, from another terminal, what it awaits meanwhile:\n"
        assert running.line() == f"  gilscope tree {pid}\n"
        while "in sleep\n" not in drawn:  # it may be asked too early, or after the deadline
            assert time.monotonic() < end, drawn
            with socket.create_connection(("127.0.0.1", running.port), LIMIT) as client:
                client.sendall(b"GET /sleepy/beauty HTTP/1.1\r\nHost: here\r\n\r\n")
                assert running.line() == "python: beauty sleeps\n"
                draw(ask(pid, patience=LIMIT), program(pid))
                drawn = capsys.readouterr().out
            assert running.line() == "python: beauty was cancelled\n"
        running.stop()
    [shown] = re.findall(r"^process \d+ gilscope-service .*?^```", README, re.DOTALL | re.MULTILINE)
    assert without_numbers(drawn) == without_numbers(shown.removesuffix("```"))


def without_numbers(drawn: str) -> str:
    """Without those that change from run to run; the lines of the example are kept."""
    drawn = re.sub(r"\b[\d.]+ (?:ns|µs|ms|s)\b", "T", drawn)
    drawn = re.sub(r"\b(process|thread|task) \d+", r"\1 N", drawn)
    drawn = drawn.replace("gilscope-service 8000\n", "gilscope-service\n")  # its port
    return re.sub(r"(asyncio/\w+\.py):\d+", r"\1:N", drawn)


def test_its_calls_go_into_a_file_and_into_the_picture(embedded: Any, tmp_path: Path) -> None:
    path = tmp_path / "service.jsonl"
    with service(embedded, TRACE=str(path)) as running:
        running.get("/relay/world")
        running.get("/hello/r2d2")
        running.stop()
    trace = read(str(path))
    assert trace.cut is None
    calls = [(call.name, call.status) for call in trace.calls]
    assert sorted(calls) == [
        ("handlers.hello", "error"),
        ("handlers.hello", "ok"),
        ("handlers.relay", "ok"),
        ("handlers.start", "ok"),
    ]
    assert "gilscope-service" in {name for _, name in trace.lanes()}
    assert len(page(trace)) > 100_000


def test_client_that_goes_away_cancels_its_call(embedded: Any) -> None:
    with service(embedded) as running:
        with socket.create_connection(("127.0.0.1", running.port), LIMIT) as client:
            client.sendall(b"GET /sleepy/beauty HTTP/1.1\r\nHost: here\r\n\r\n")
            assert running.line() == "python: beauty sleeps\n"
        assert running.line() == "python: beauty was cancelled\n"
        running.stop()


def test_request_that_takes_too_long_is_answered(embedded: Any) -> None:
    with service(embedded) as running:
        status, text = running.get("/sleepy/beauty")
        assert status == 504
        assert text.startswith("handlers.sleepy did not end within 2 s")
        assert running.line() == "python: beauty sleeps\n"
        assert running.line() == "python: beauty was cancelled\n"
        running.stop()


def test_nobody_but_this_machine_is_served(embedded: Any) -> None:
    with service(embedded) as running:
        tables = [Path(f"/proc/{running.process.pid}/net/{name}") for name in ("tcp", "tcp6")]
        own = {os.readlink(fd) for fd in Path(f"/proc/{running.process.pid}/fd").iterdir()}
        listening = []
        for line in (line for table in tables for line in table.read_text().splitlines()[1:]):
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in own:
                listening.append(fields[1])
        assert listening == [f"0100007F:{running.port:04X}"]


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    """A collector of the test's own."""
    with Collector(build(ROOT / "target" / "collector"), tmp_path) as running:
        yield running


def test_one_trace_leads_through_all(embedded: Any, collector: Collector) -> None:
    url = collector.url("http/protobuf")
    with service(embedded, OTEL_EXPORTER_OTLP_ENDPOINT=url) as running:
        status, _ = running.get("/relay/world", HEADERS)
        assert status == 200
        running.stop()
    collector.stop()
    calls = {
        span["name"]: span
        for span in collector.receiver.spans()
        if span["attributes"]["gilscope.span"] == "call"
    }
    relay, hello = calls["handlers.relay"], calls["handlers.hello"]
    assert (relay["traceId"], hello["traceId"]) == (TRACE, TRACE)
    assert relay["parentSpanId"] == SPAN
    assert hello["parentSpanId"] == relay["spanId"]
    assert (relay["traceState"], hello["traceState"]) == ("a=b", "a=b")
    assert hello["attributes"]["app.name"] == "world"
