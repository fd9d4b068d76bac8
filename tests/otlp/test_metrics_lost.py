"""Metrics that are not taken hold up no span, and who does not take them is named."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from accounts import NOTHING, eventually, exporting, told_once
from faulty import LIMIT, REFUSED, Faulty, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LOST = "gilscope: metrics are lost on their way to the collector: "


@pytest.fixture
def silent() -> Iterator[socket.socket]:
    """An address where somebody listens and nobody answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(LIMIT)
        yield server


def url_of(server: socket.socket) -> str:
    return f"http://127.0.0.1:{server.getsockname()[1]}"


def posted(protocol: str, url: str) -> str:
    """Where metrics go, as it is said."""
    return f"{protocol} to {url}{'/v1/metrics' if protocol == 'http/protobuf' else ''}"


def test_b4_metrics_that_nobody_answers_hold_up_no_spans(
    protocol: str,
    silent: socket.socket,
    settings: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
) -> None:
    settings(METRIC_EXPORT_INTERVAL=20)
    with running(protocol) as faulty, ExitStack() as kept:
        settings(EXPORTER_OTLP_TRACES_ENDPOINT=f"{faulty.url}/v1/traces")
        settings(EXPORTER_OTLP_METRICS_ENDPOINT=f"{url_of(silent)}/v1/metrics")
        with exporting(None) as export:
            export.call(1)
            connection, _ = silent.accept()
            kept.enter_context(connection)
            connection.settimeout(LIMIT)
            assert connection.recv(1)  # a request of metrics is under way
            for _ in range(3):
                before = export.exported
                export.call(50)
                eventually(lambda before=before: export.exported >= before + 7 * 50)
    assert export.lost == NOTHING
    why = "there was no time left to send them before the end"
    said = f"{LOST}{why} ({posted(protocol, url_of(silent))})\n"
    assert capfd.readouterr().err == said


@pytest.mark.parametrize("apart", [True, False], ids=["an address of their own", "with spans"])
def test_metrics_that_are_refused_are_said_once(
    protocol: str,
    settings: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    apart: bool,
) -> None:
    settings(METRIC_EXPORT_INTERVAL=20)
    with running(protocol) as faulty, running(protocol) as other:
        (other if apart else faulty).metrics_answer = REFUSED
        if apart:
            settings(EXPORTER_OTLP_METRICS_ENDPOINT=f"{other.url}/v1/metrics")
        settings(EXPORTER_OTLP_TRACES_ENDPOINT=f"{faulty.url}/v1/traces")
        settings(EXPORTER_OTLP_ENDPOINT=faulty.url)
        with exporting(None) as export:
            export.call(1)
            eventually(lambda: len((other if apart else faulty).metrics) > 3)
    assert export.lost == NOTHING
    to = other.url if apart else faulty.url
    told = capfd.readouterr().err
    assert told.startswith(LOST), told
    assert told.endswith(f" ({posted(protocol, to)})\n")
    assert told.count("\n") == 1
    assert export.exporter.failure is None  # of spans


def test_spans_are_said_where_both_are_lost(
    faulty: Faulty, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty.answers = [REFUSED]
    faulty.metrics_answer = REFUSED
    with exporting(faulty) as export:
        export.call(1)
    told_once(capfd, export)


def test_interval_below_the_delay_of_spans(faulty: Faulty, settings: Callable[..., None]) -> None:
    settings(METRIC_EXPORT_INTERVAL=20, BSP_SCHEDULE_DELAY=600_000)
    with exporting(faulty) as export:
        eventually(lambda: len(faulty.metrics) > 3)
        assert export.exported == 0
    assert export.lost == NOTHING
