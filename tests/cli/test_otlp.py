"""`gilscope run --otlp`: spans go to a collector, and the summary says how many."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
from faulty import running

if TYPE_CHECKING:
    from collections.abc import Iterator


PROTOCOLS = ["grpc", "http/protobuf"]
OTHER = {"grpc": "http/protobuf", "http/protobuf": "grpc"}
# Where spans are posted to, below the address.
PATH = {"grpc": "", "http/protobuf": "/v1/traces"}
UNUSABLE = ["localhost", "http:localhost", "ftp://localhost", "http://", "http://a b\n"]


@pytest.fixture
def url() -> Iterator[str]:
    """A collector that takes everything."""
    with running("http/protobuf") as collector:
        yield collector.url


def test_summary_says_what_was_exported(cli: Any, url: str) -> None:
    done = cli.run("double", "ten", f"--otlp={url}")
    assert done.code == 0
    found = re.search(r"^exported: (\d+) spans, lost: none$", done.err, re.MULTILINE)
    assert found is not None
    assert int(found[1]) >= 10 * 8


def test_address_may_come_from_the_environment(
    cli: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    done = cli.run("double", "ten", "--otlp")
    assert re.search(r"^exported: \d+ spans, lost: none$", done.err, re.MULTILINE)


def test_function_may_stand_behind_otlp_without_its_url(
    cli: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", url)
    done = cli("run", "--otlp", "functions.py:double", "--input", "functions.py:ten")
    assert done.code == 0, done.err
    assert re.search(r"^exported: \d+ spans, lost: none$", done.err, re.MULTILINE)
    # An address is none of a function.
    done = cli("run", "--otlp", url, "--input", "functions.py:ten")
    assert (done.code, done.err.partition(" (")[0]) == (2, "error: Missing argument 'FUNCTION'")


def test_url_may_stand_apart_from_otlp(cli: Any, url: str) -> None:
    done = cli.run("double", "ten", "--otlp", url)
    assert re.search(r"^exported: \d+ spans, lost: none$", done.err, re.MULTILINE)


def test_export_that_is_disabled_is_said_to_be(
    cli: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    done = cli.run("double", "ten", "--otlp", url)
    assert done.code == 0
    assert "\nexported: nothing, since OTEL_SDK_DISABLED is set" in done.err
    assert "lost" not in done.err


def told(done: Any) -> str:
    """The line about spans that are lost, where there is one and otherwise all is well."""
    assert done.code == 0
    assert "Traceback" not in done.err
    lines = [line for line in done.err.splitlines() if "lost" in line]
    first, total, summary = lines
    assert first.startswith("gilscope: spans are lost on their way to the collector: ")
    assert re.match(r"gilscope: (\d+) of \1 spans were lost: \d+ were (in|left)", total)
    reason = "(were left when the time to close was over|were in requests that failed)"
    exported = rf"exported: 0 spans, lost: \d+ {reason} \(.*, (grpc|http/protobuf) to http://.*\)$"
    assert re.match(exported, summary)
    return str(first)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_collector_that_is_absent_fails_no_run(
    cli: Any, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    line = told(cli.run("double", "ten", "--otlp=http://127.0.0.1:9"))
    assert line.endswith(f"({protocol} to http://127.0.0.1:9{PATH[protocol]})")


def test_spans_that_are_lost_on_their_way_are_in_the_trace(cli: Any) -> None:
    done = cli.run("double", "ten", "--otlp=http://127.0.0.1:9", "--trace", "t.jsonl")
    told(done)
    assert re.search(r"^dropped: none ", done.err, re.MULTILINE)
    assert "\ntrace: t.jsonl (gilscope view t.jsonl" in done.err


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_port_of_the_other_protocol_fails_no_run(
    cli: Any, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    with running(OTHER[protocol]) as collector:
        line = told(cli.run("double", "ten", f"--otlp={collector.url}"))
    hint = f"({protocol} to {collector.url}{PATH[protocol]}; is that a port for {OTHER[protocol]}?)"
    assert line.endswith(hint)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("address", UNUSABLE)
def test_address_that_cannot_be_used_is_refused_before_any_call(
    cli: Any, monkeypatch: pytest.MonkeyPatch, protocol: str, address: str
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    done = cli.run("double", "ten", f"--otlp={address}", "--trace", "trace.json")
    assert done.code == 2
    shown = address.replace("\n", "\\n")
    like = {"grpc": "http://localhost:4317, or host:port", "http/protobuf": "http://localhost:4318"}
    assert done.err == (
        f'error: cannot export: the endpoint must be a URL like {like[protocol]}, not "{shown}"\n'
    )
    assert not (cli.folder / "trace.json").exists()
