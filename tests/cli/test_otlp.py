"""`gilscope run --otlp`: spans go to a collector, and the summary says how many."""

from __future__ import annotations

import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def url() -> Iterator[str]:
    """A collector that takes everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


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


def test_collector_that_is_absent_fails_no_run(cli: Any) -> None:
    done = cli.run("double", "ten", "--otlp=http://127.0.0.1:9")
    assert done.code == 0
    lines = [line for line in done.err.splitlines() if "lost" in line]
    assert len(lines) == 2
    assert lines[0].startswith("gilscope: spans are lost on their way to the collector: ")
    assert re.match(r"exported: 0 spans, lost: [\d,]+ by closed \(.*\)$", lines[1])


def test_address_that_cannot_be_used_is_refused_before_any_call(cli: Any) -> None:
    done = cli.run("double", "ten", "--otlp=localhost:4318", "--trace", "trace.json")
    assert done.code == 2
    assert done.err == (
        "error: cannot export: the endpoint must be a URL like http://localhost:4318, "
        'not "localhost:4318"\n'
    )
    assert not (cli.folder / "trace.json").exists()
