"""A user's own OpenTelemetry, and what it records."""

from __future__ import annotations

import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import gilscope

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.trace import Tracer


@pytest.fixture(autouse=True)
def no_settings_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sample as the test says, whatever this machine's environment does."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def finished() -> InMemorySpanExporter:
    """What the user's own spans become."""
    return InMemorySpanExporter()


@pytest.fixture
def tracer(finished: InMemorySpanExporter) -> Tracer:
    """The user's tracer."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(finished))
    return provider.get_tracer("user")


class Takes(BaseHTTPRequestHandler):
    """Takes whatever is sent."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="session")
def taker() -> Iterator[str]:
    """Where a server takes all spans."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Takes) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture
def exported(taker: str) -> Iterator[gilscope.instrument]:
    """Spans are exported while the test runs."""
    with gilscope.instrument(otlp=taker) as export:
        yield export
