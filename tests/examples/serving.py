"""`examples/service` as a process of the test's own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from contextlib import contextmanager
from queue import Queue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LIMIT = 60


class Service:
    """The running server."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.lines: Queue[str] = Queue()
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def listens(self) -> None:
        """Read what it says at its start."""
        found = re.fullmatch(r"listening on (http://127\.0\.0\.1:(\d+)); try\n", self.line())
        assert found is not None
        self.url, self.port = found[1], int(found[2])
        # Each with what is said above it.
        self.tries: list[tuple[str, str]] = []
        while len(self.tries) < 4:
            remark = line if (line := self.line()).startswith("  # ") else ""
            curl = self.line() if remark else line
            assert curl.startswith("  curl "), curl
            assert self.url in curl
            self.tries.append((remark, curl))

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put("")

    def line(self) -> str:
        """The next line that it prints; "" at the end."""
        return self.lines.get(timeout=LIMIT)

    def get(self, path: str, headers: dict[str, str] | None = None) -> tuple[int, str]:
        """Status and text of the answer."""
        request = urllib.request.Request(self.url + path, headers=headers or {})
        try:
            with urllib.request.urlopen(request, timeout=LIMIT) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def tell(self, number: int = signal.SIGTERM) -> None:
        """Tell it to end, as a service manager does, or Ctrl-C."""
        self.process.send_signal(number)

    def ended(self) -> None:
        """Wait for its end, of which it says that everything has ended, and nothing else."""
        self.left(code=0, said="", printed=["stopped, calls abandoned: 0\n"])

    def left(self, *, code: int, said: str, printed: list[str]) -> None:
        """Wait for its end; `said` is on stderr."""
        assert self.process.stderr is not None
        found = self.process.wait(LIMIT), self.process.stderr.read()
        assert found == (code, said), found
        lines = list(iter(self.line, ""))
        assert lines == printed, lines

    def stop(self) -> None:
        """End it; it says so and nothing else."""
        self.tell()
        self.ended()


@contextmanager
def service(embedded: Any, modules: Path | None = None, **variables: str) -> Iterator[Service]:
    """Run the server; these are in its environment. Python looks for modules in `modules` first."""
    others = {k: v for k, v in os.environ.items() if not k.startswith(("OTEL_", "UPSTREAM"))}
    paths = filter(None, [str(modules or ""), *sys.path])
    env = {**others, **embedded.env, "PYTHONPATH": os.pathsep.join(paths), **variables}
    with subprocess.Popen(
        embedded.command("gilscope-service"),
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        running = Service(process)
        try:
            running.listens()
            yield running
        finally:
            process.kill()
            process.wait()
            running.reader.join(LIMIT)
