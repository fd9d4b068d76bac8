"""A real OpenTelemetry collector on loopback, and a receiver that reads what it sends on."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType
    from typing import Self

HERE = Path(__file__).parent
VERSION = "v0.160.0"
CONFIG = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}", {tls}}}
      http: {{endpoint: "127.0.0.1:{http}", {tls}}}
processors:
  batch: {{timeout: 50ms}}
exporters:
  otlphttp: {{endpoint: "http://127.0.0.1:{sink}", encoding: json, compression: none}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
    traces: {{receivers: [otlp], processors: [batch], exporters: [otlphttp]}}
    metrics: {{receivers: [otlp], processors: [batch], exporters: [otlphttp]}}
"""


def build(folder: Path) -> Path:
    """Build the collector, or use the one given; where it is."""
    if (given := os.environ.get("GILSCOPE_COLLECTOR")) is not None:
        return checked(Path(given))
    program = folder / VERSION / "otelcol" / "otelcol"
    if not program.exists():
        folder = program.parent.parent
        folder.mkdir(parents=True, exist_ok=True)
        env = {**os.environ, "GOBIN": str(folder)}
        package = f"go.opentelemetry.io/collector/cmd/builder@{VERSION}"
        subprocess.run(["go", "install", package], env=env, check=True)
        shutil.copy(HERE / "builder.yaml", folder)
        subprocess.run([folder / "builder", "--config", "builder.yaml"], cwd=folder, check=True)
    return program


def pinned() -> list[str]:
    """The modules that the collector is made of, each with its version."""
    return re.findall(r"gomod: (.+)", (HERE / "builder.yaml").read_text())


def checked(given: Path) -> Path:
    """The same, if it is made of what is pinned. It has no `--version`: it was given none."""
    try:
        asked = subprocess.run(
            [given, "components"], capture_output=True, text=True, timeout=60, check=True
        )
    except (OSError, subprocess.SubprocessError) as error:
        lacks = f"does not say what it is made of ({error})"
    else:
        has = set(re.findall(r"^ +module: (.+)$", asked.stdout, re.MULTILINE))
        missing = sorted(set(pinned()) - has)
        if not missing:
            return given
        lacks = f"lacks {', '.join(missing)}"
    raise RuntimeError(
        f"GILSCOPE_COLLECTOR={given} {lacks}: build it by {HERE / 'builder.yaml'} with the "
        f"builder {VERSION}, or unset the variable to have the tests build it"
    )


def free_port() -> int:
    """A port that nobody listens on, and that the system gives to nobody's outgoing connection."""
    while True:
        port = random.randrange(15_000, 32_000)  # ip_local_port_range begins at 32,768
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
            return port


def answers(port: int) -> bool:
    """Whether somebody listens there."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


class Receiver:
    """Takes OTLP in JSON and keeps its spans."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *args: object) -> None:
                """A collector that is killed says no goodbye."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.port = self.server.server_port
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def spans(self) -> list[dict[str, Any]]:
        """All spans so far, attributes as a dict."""
        return [
            {**span, "attributes": flat(span.get("attributes", []))}
            for request in list(self.requests)
            for resource in request.get("resourceSpans", [])
            for scope in resource["scopeSpans"]
            for span in scope["spans"]
        ]

    def resources(self) -> list[dict[str, Any]]:
        """The attributes of each resource that sent something."""
        return [
            flat(resource["resource"]["attributes"])
            for request in list(self.requests)
            for kind in ("resourceSpans", "resourceMetrics")
            for resource in request.get(kind, [])
        ]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """The last of each metric."""
        return {
            metric["name"]: metric
            for request in list(self.requests)
            for resource in request.get("resourceMetrics", [])
            for scope in resource["scopeMetrics"]
            for metric in scope["metrics"]
        }

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def flat(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """Attributes as they were set: integers come as text in OTLP's JSON."""
    values = {}
    for pair in attributes:
        ((kind, value),) = pair["value"].items()
        values[pair["key"]] = int(value) if kind == "intValue" else value
    return values


class Collector:
    """A collector that runs while the block does; with TLS if it is given settings of that."""

    def __init__(self, program: Path, folder: Path, tls: Mapping[str, Path] | None = None) -> None:
        self.program, self.folder, self.tls = program, folder, tls
        self.ports = {"grpc": free_port(), "http/protobuf": free_port()}
        self.receiver = Receiver()
        self.process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        config = self.folder / "collector.yaml"
        grpc, http = self.ports["grpc"], self.ports["http/protobuf"]
        tls = "" if self.tls is None else f"tls: {json.dumps(self.tls, default=str)}"
        config.write_text(CONFIG.format(grpc=grpc, http=http, tls=tls, sink=self.receiver.port))
        with (self.folder / "collector.log").open("w") as log:
            self.process = subprocess.Popen(
                [self.program, "--config", config], stdout=log, stderr=log, text=True
            )
        for port in self.ports.values():
            self._wait_for(port)

    def _wait_for(self, port: int) -> None:
        assert self.process is not None
        while self.process.poll() is None:
            if answers(port):
                return
            time.sleep(0.05)
        raise AssertionError((self.folder / "collector.log").read_text())

    def stop(self) -> None:
        """End it once it has sent on what it took."""
        if self.process is not None:
            self.process.terminate()
            assert self.process.wait(60) == 0, (self.folder / "collector.log").read_text()
            self.process = None

    def url(self, protocol: str) -> str:
        scheme = "http" if self.tls is None else "https"
        return f"{scheme}://127.0.0.1:{self.ports[protocol]}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.receiver.close()
