"""A collector that is given has to be the one that the tests are written for."""

from __future__ import annotations

from pathlib import Path

import pytest
from otelcol import VERSION, build, pinned


def program(folder: Path, modules: list[str], code: int = 0) -> Path:
    """Says that it is made of these modules."""
    path = folder / "otelcol"
    lines = "".join(f"    - name: x\n      module: {module}\n" for module in modules)
    path.write_text(
        f"#!/bin/sh\n[ $1 = components ] || exit 2\ncat <<END\n{lines}END\nexit {code}\n"
    )
    path.chmod(0o755)
    return path


def test_given_collector_of_the_pinned_version_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = program(tmp_path, pinned())
    monkeypatch.setenv("GILSCOPE_COLLECTOR", str(given))
    assert build(tmp_path) == given
    assert [module.rpartition(" ")[2] for module in pinned()] == [VERSION] * 4


@pytest.mark.parametrize("wrong", ["other", "longer", "lacks one", "fails", "is missing"])
def test_given_collector_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    modules = pinned()
    if wrong == "other":
        modules[0] = modules[0].replace(VERSION, "v0.1.0")
    elif wrong == "longer":
        modules[0] += "1"
    elif wrong == "lacks one":
        del modules[0]
    given = program(tmp_path, modules, code=int(wrong == "fails"))
    if wrong == "is missing":
        given.unlink()
    monkeypatch.setenv("GILSCOPE_COLLECTOR", str(given))
    with pytest.raises(RuntimeError, match=f"^GILSCOPE_COLLECTOR={given} .*{VERSION}"):
        build(tmp_path)
