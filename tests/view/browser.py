"""Headless Chromium, driven over a pipe: pages are opened, looked at, clicked and typed into.

No network: the only addresses are those of files and of a test's own loopback server.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

# What Debian, Ubuntu and Google call it.
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # CI runs as root
    "--disable-gpu",
    "--disable-dev-shm-usage",  # a container's may be small
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--window-size=1440,900",
    "--remote-debugging-pipe",
)
# Chromium reads file descriptor 3 and writes 4. Both are moved out of the way of each other first.
_START = """
import fcntl, os, sys
theirs = [fcntl.fcntl(int(fd), fcntl.F_DUPFD, 10) for fd in sys.argv[1:3]]
os.dup2(theirs[0], 3)
os.dup2(theirs[1], 4)
os.execv(sys.argv[3], sys.argv[3:])
"""
_PATIENCE = 120.0


def executable() -> str:
    """The browser; tests that need it fail where there is none."""
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    raise AssertionError("no Chromium: .ci/browser installs it")


class Browser:
    """One browser with one page."""

    def __init__(self, profile: Path, *flags: str) -> None:
        (self._read, theirs_out), (theirs_in, self._write) = os.pipe(), os.pipe()
        command = [executable(), *_FLAGS, *flags, f"--user-data-dir={profile}", "about:blank"]
        start = [sys.executable, "-c", _START, str(theirs_in), str(theirs_out)]
        self._process = subprocess.Popen(
            [*start, *command],
            pass_fds=(theirs_in, theirs_out),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(theirs_in)
        os.close(theirs_out)
        self._number, self._buffer = 0, b""
        self.said: list[str] = []
        """What the page logged, and what it raised and nobody caught."""
        self.requests: list[str] = []
        """Every address that the page asked for."""
        self._session: str | None = None
        targets = self._send("Target.getTargets")["targetInfos"]
        [page] = [target["targetId"] for target in targets if target["type"] == "page"]
        attached = self._send("Target.attachToTarget", targetId=page, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self._send(f"{domain}.enable")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._write)  # it leaves when nobody can ask anything any more
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._read)

    def open(self, address: str) -> None:
        """Go to `address` and wait until it is loaded."""
        self._send("Page.navigate", url=address)
        self.wait("document.readyState === 'complete'")

    def run(self, script: str) -> Any:
        """The value of an expression in the page."""
        given = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self._send("Runtime.evaluate", **given)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str) -> Any:
        """The first value of `script` that is true."""
        end = time.monotonic() + _PATIENCE
        while not (value := self.run(f"Boolean(globalThis.document) && ({script})")):
            assert time.monotonic() < end, f"never true: {script}; {self.said}"
            time.sleep(0.05)
        return value

    def text(self, selector: str = "body") -> str:
        """What can be read there."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        for kind in ("keyDown", "keyUp"):
            given = text if kind == "keyDown" else {}
            self._send("Input.dispatchKeyEvent", type=kind, key=key, code=key, **given)

    def click(self, x: float, y: float) -> None:
        """Click at a place of the window."""
        for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
            pressed = {} if kind == "mouseMoved" else {"button": "left", "clickCount": 1}
            self._send("Input.dispatchMouseEvent", type=kind, x=x, y=y, **pressed)

    def dark(self, wanted: bool) -> None:
        """Have the page believe that the system is dark, or light."""
        feature = {"name": "prefers-color-scheme", "value": "dark" if wanted else "light"}
        self._send("Emulation.setEmulatedMedia", features=[feature])

    def screenshot(self, path: Path) -> bytes:
        """A PNG of what is seen."""
        png = base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"])
        path.write_bytes(png)
        return png

    def _send(self, method: str, **params: Any) -> dict[str, Any]:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if self._session is not None:
            message["sessionId"] = self._session
        raw = json.dumps(message).encode() + b"\0"
        while raw:
            raw = raw[os.write(self._write, raw) :]
        while True:
            answer = self._receive()
            if answer.get("id") == self._number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._note(answer)

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], _PATIENCE)
            assert ready, "the browser does not answer"
            got = os.read(self._read, 1 << 20)
            assert got, f"the browser ended, with code {self._process.poll()}"
            self._buffer += got
        raw, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(raw)
        return message

    def _note(self, event: dict[str, Any]) -> None:
        method, params = event.get("method"), event.get("params", {})
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.said.append(str(details.get("exception", {}).get("description", details)))
        elif method == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(arg.get("value")) for arg in params["args"]))
        elif method == "Log.entryAdded":
            self.said.append(params["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
