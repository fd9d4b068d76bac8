"""The plugin is loaded in every pytest run of its environment, so it must cost nothing there."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

COLLECT = """
import sys
import pytest

assert pytest.main(["--co", "--quiet"]) == 0
assert "gilscope.plugin" in sys.modules, "the plugin was not loaded"
loaded = sorted(name for name in sys.modules if name.startswith("gilscope"))
assert loaded == ["gilscope", "gilscope.plugin"], loaded
"""


def test_a_run_that_does_not_use_it_loads_no_native_module(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing(): pass\n")
    done = subprocess.run(
        [sys.executable, "-c", COLLECT], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout + done.stderr


BARE = """
import __future__, importlib, sys, typing
before = set(sys.modules)
import gilscope
print(sorted(set(sys.modules) - before))
"""


def test_the_import_alone_loads_nothing_else() -> None:
    done = subprocess.run(
        [sys.executable, "-c", BARE], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "['gilscope']\n"


def test_the_package_names_all_it_has() -> None:
    import gilscope

    assert set(gilscope.__all__) <= set(dir(gilscope))
    for name in gilscope.__all__:
        assert getattr(gilscope, name) is not None
