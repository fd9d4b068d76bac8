"""Wheel and sdist install into an empty environment and work there, outside the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TIMEOUT = 900.0

CALL = """
import gilscope

async def double(x):
    await gilscope.rust.sleep(0)
    return 2 * x

with gilscope.trace("t.jsonl"), gilscope.PyRuntime() as runtime:
    print(runtime.call(double, 21))
"""

COLLECTED = """
def test_in_an_empty_environment():
    pass
"""


def base_python() -> str:
    """The interpreter that the build outside of this test also uses, so that caches hold."""
    return os.environ.get("PYO3_PYTHON") or getattr(sys, "_base_executable", sys.executable)


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def maturin(command: str, *options: str | Path, out: Path) -> Path:
    run(sys.executable, "-m", "maturin", command, *options, "--out", out, cwd=ROOT)
    (built,) = out.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    return maturin("build", "--release", "--interpreter", base_python(), out=out)


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return maturin("sdist", out=tmp_path_factory.mktemp("sdist"))


class Environment:
    """A virtual environment with nothing but pip in it."""

    def __init__(self, folder: Path, *, cargo: bool) -> None:
        self.folder = folder
        self.env = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
        if not cargo:
            self.env["PATH"] = without_cargo(self.env["PATH"])
            assert shutil.which("cargo", path=self.env["PATH"]) is None
        run(base_python(), "-m", "venv", folder / "venv", cwd=folder)

    def __call__(self, *command: str | Path) -> str:
        program, *rest = command
        return run(self.folder / "venv" / "bin" / program, *rest, cwd=self.folder, env=self.env)

    def check(self) -> None:
        """Run a call, the command and a collection, all outside the repository."""
        assert self("python", "-c", CALL) == "42\n"
        assert "gilscope run" in self("gilscope", "--help")
        assert "page: t.html" in self("gilscope", "view", "t.jsonl", "--html")
        (self.folder / "test_empty.py").write_text(COLLECTED)
        collected = self("pytest", "--co")
        assert "test_in_an_empty_environment" in collected
        assert "gilscope-" in collected  # among the plugins in the header


def without_cargo(path: str) -> str:
    return os.pathsep.join(
        folder for folder in path.split(os.pathsep) if not (Path(folder) / "cargo").exists()
    )


def test_wheel(wheel: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path, cargo=False)
    environment("pip", "install", wheel)
    environment.check()


def test_sdist(sdist: Path, tmp_path: Path) -> None:
    environment = Environment(tmp_path, cargo=True)
    # That it builds and works is asked here, not how fast it is.
    environment.env["MATURIN_PEP517_ARGS"] = "--profile dev"
    environment("pip", "install", sdist)
    environment.check()


def test_wheel_holds_one_package_with_its_types(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"gilscope"}
    bundled = ("view/page/page.html", "view/page/vendor/LICENSE")
    for name in ("__init__.py", "_native.pyi", "py.typed", "plugin.py", *bundled):
        assert f"gilscope/{name}" in names
    assert [name for name in names if name.endswith(".so")] != []


def test_sdist_holds_what_a_build_needs_and_no_builds(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    for name in ("Cargo.lock", "LICENSE-MIT", "LICENSE-APACHE", "runtime/Cargo.toml"):
        assert name in names
    assert [name for name in names if name.startswith("target") or name.endswith(".so")] == []
