"""The collector that tests export to."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from faulty import PROTOCOLS, Faulty, running
from otelcol import Collector, build

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(scope="session")
def collector_program() -> Path:
    """The collector, built once for a checkout: two minutes."""
    return build(Path(__file__).parents[2] / "target" / "collector")


@pytest.fixture
def collector(collector_program: Path, tmp_path: Path) -> Iterator[Collector]:
    """A collector of the test's own."""
    with Collector(collector_program, tmp_path) as running:
        yield running


@pytest.fixture(autouse=True)
def no_settings_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Export as the test says, whatever this machine's environment does."""
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Sets `OTEL_` variables, given without that."""

    def set_all(**variables: object) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(f"OTEL_{name}", str(value))

    return set_all


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest, settings: Callable[..., None]) -> str:
    """How it is exported. Of itself no request ends before the exporter's deadline."""
    settings(EXPORTER_OTLP_PROTOCOL=request.param, EXPORTER_OTLP_TIMEOUT=600_000)
    settings(BSP_EXPORT_TIMEOUT=600_000, METRIC_EXPORT_TIMEOUT=600_000, BSP_SCHEDULE_DELAY=20)
    return str(request.param)


@pytest.fixture
def faulty(protocol: str) -> Iterator[Faulty]:
    """A collector of the test's own that does what it is told."""
    with running(protocol) as collector:
        yield collector
