"""What `examples/service` is started with: its port, and what is in its environment."""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from serving import LIMIT, service

EXPORTS = "gilscope-otlp"  # the thread that there is where anything is exported


def refused(embedded: Any, port: str) -> str:
    """What it says about this port."""
    done = subprocess.run(
        embedded.command("gilscope-service", port),
        env={**os.environ, **embedded.env},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout) == (2, "")
    line: str = done.stderr
    return line


def test_a_port_that_is_taken_is_named_with_what_to_do(embedded: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused(embedded, str(port))
    another = 8001 if port == 65535 else max(port + 1, 8001)
    assert said == (
        f"gilscope-service: 127.0.0.1:{port} is taken by another program; "
        f"choose another port: PORT={another} make service\n"
    )


@pytest.mark.parametrize("port", ["http", "70000", "-1"])
def test_what_is_no_port_is_said_in_a_line(embedded: Any, port: str) -> None:
    assert refused(embedded, port) == (
        f'gilscope-service: "{port}" is no port; choose another port: PORT=8001 make service\n'
    )


def threads(pid: int) -> set[str]:
    """What the threads of a process are called, in at most 15 characters."""
    names = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # has ended since
            names.add((task / "comm").read_text().strip())
    return names


@pytest.mark.parametrize(
    ("endpoint", "exports"), [("", False), (" ", False), ("http://127.0.0.1:9", True)]
)
def test_an_endpoint_that_is_empty_is_as_unset(embedded: Any, endpoint: str, exports: bool) -> None:
    with service(embedded, OTEL_EXPORTER_OTLP_ENDPOINT=endpoint) as running:
        found = threads(running.process.pid)
        assert "tokio-rt-worker" in found
        assert (EXPORTS in found) == exports
        if not exports:
            running.stop()


def test_each_variable_that_is_empty_is_as_unset(embedded: Any) -> None:
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "TRACE", "UPSTREAM", "GILSCOPE_TREE")
    with service(embedded, **dict.fromkeys(names, "")) as running:
        assert running.get("/relay/world") == (200, "upstream says: hello world")
        running.stop()


def test_what_it_cannot_export_by_is_said_in_a_line(embedded: Any) -> None:
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "ftp://here"}
    done = subprocess.run(
        embedded.command("gilscope-service"),
        env={**os.environ, **embedded.env, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (done.returncode, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("gilscope-service: OTEL_EXPORTER_OTLP_ENDPOINT ")
