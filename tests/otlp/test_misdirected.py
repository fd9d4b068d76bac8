"""Requests that arrive where something else is spoken: one clear line, and every span counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from accounts import told_once

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    from otelcol import Collector

OTHER = {"grpc": "http/protobuf", "http/protobuf": "grpc"}
# Where spans are posted to, below the address.
PATH = {"grpc": "", "http/protobuf": "/v1/traces"}
LIMIT = 30


def told_of(endpoint: str, capfd: pytest.CaptureFixture[str]) -> str:
    """What is said of an export that must fail."""
    with gilscope.instrument(otlp=endpoint) as exporter, gilscope.PyRuntime() as rt:
        for future in [rt.submit(int) for _ in range(20)]:
            future.result(LIMIT)
        rt.shutdown()
        exporter.close()
    assert exporter.exported == 0
    assert sum(exporter.lost.values()) >= 7 * 20
    return told_once(capfd)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_b4_port_of_the_other_protocol(
    collector: Collector,
    settings: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    protocol: str,
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol)
    url = collector.url(OTHER[protocol])
    hint = f"({protocol} to {url}{PATH[protocol]}; is that a port for {OTHER[protocol]}?)\n"
    assert told_of(url, capfd).endswith(hint)


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_b4_port_without_tls(
    collector: Collector,
    settings: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    protocol: str,
) -> None:
    settings(EXPORTER_OTLP_PROTOCOL=protocol)
    url = collector.url(protocol).replace("http", "https")
    told = told_of(url, capfd)
    assert told.endswith(f"({protocol} to {url}{PATH[protocol]}; is that a port without TLS?)\n")


def test_a_path_that_the_collector_does_not_know_is_told(
    collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    port = collector.ports["http/protobuf"]
    told = told_of(f"http://somebody:secret@127.0.0.1:{port}/wrong?key=secret", capfd)
    assert "HTTP 404 Not Found" in told
    assert "secret" not in told
    assert f"(http/protobuf to http://127.0.0.1:{port}/wrong" in told


def test_password_in_the_address_is_not_told(
    collector: Collector, capfd: pytest.CaptureFixture[str]
) -> None:
    port = collector.ports["grpc"]
    told = told_of(f"http://somebody:secret@127.0.0.1:{port}", capfd)
    assert f"to http://127.0.0.1:{port}/v1/traces;" in told
    assert "secret" not in told
