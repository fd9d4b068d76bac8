"""A real collector on loopback, of the tests' own build, that throws away what it takes.

It stands for one on another machine, and is kept to one core of this one.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchlib.build import ROOT

sys.path.insert(0, str(ROOT / "tests" / "otlp"))

from otelcol import answers, build, free_port

CONFIG = """
receivers:
  otlp:
    protocols:
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
      http: {{endpoint: "127.0.0.1:{http}"}}
exporters:
  debug: {{verbosity: basic}}
service:
  telemetry: {{metrics: {{level: none}}, logs: {{level: error}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
"""
PROTOCOLS = ("grpc", "http/protobuf")
PATIENCE = 60.0


class NoCollector(Exception):
    """It could not be built, or ended at once."""


@contextmanager
def collector() -> Iterator[dict[str, str]]:
    """Run it for a while; its address for each protocol."""
    try:
        program = build(ROOT / "target" / "collector")
    except (OSError, subprocess.CalledProcessError) as error:
        raise NoCollector(f"the collector cannot be built: {error}") from error
    ports = [free_port() for _ in PROTOCOLS]
    with tempfile.TemporaryDirectory(prefix="gilscope-bench-") as folder:
        config = Path(folder) / "collector.yaml"
        config.write_text(CONFIG.format(grpc=ports[0], http=ports[1]))
        process = subprocess.Popen(
            [program, "--config", config],
            env=os.environ | {"GOMAXPROCS": "1"},
            preexec_fn=_keep_to_one_core,
            stderr=subprocess.DEVNULL,
        )
        try:
            for port in ports:
                _wait_for(process, port)
            urls = (f"http://127.0.0.1:{port}" for port in ports)
            yield dict(zip(PROTOCOLS, urls, strict=True))
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _keep_to_one_core() -> None:
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})


def _wait_for(process: subprocess.Popen[bytes], port: int) -> None:
    end = time.monotonic() + PATIENCE
    while not answers(port):
        if process.poll() is not None or time.monotonic() > end:
            raise NoCollector("the collector does not run")
        time.sleep(0.05)
