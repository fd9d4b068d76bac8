"""The collector that tests export to."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from faulty import PROTOCOLS, Faulty, running
from otelcol import Collector, build

import gilscope

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


@pytest.fixture
def told(collector: Collector) -> Callable[..., dict[str, str]]:
    """Call a function that raises; what the collector was told of its exception.

    With `kind="task"` the function runs in a task of the call, which awaits it. `error`: its type,
    or the very object.
    """

    def call(
        fun: Callable[..., Any], error: type[BaseException] | BaseException, kind: str = "call"
    ) -> dict[str, str]:
        expected = error if isinstance(error, type) else type(error)

        async def parent() -> None:
            await asyncio.create_task(fun())

        url = collector.url("http/protobuf")
        with gilscope.instrument(otlp=url) as export, gilscope.PyRuntime() as rt:
            with pytest.raises(expected) as caught:
                rt.call(parent if kind == "task" else fun)
            assert caught.value is error or expected is error
            rt.shutdown()
            export.close()
        assert sum(export.lost.values()) == 0
        collector.stop()
        (span,) = (s for s in collector.receiver.spans() if s["name"].endswith(fun.__name__))
        assert span["attributes"]["gilscope.span"] == kind
        assert span["attributes"]["code.function.name"].endswith(fun.__name__)
        assert span["attributes"]["code.file.path"] == fun.__code__.co_filename
        assert span["attributes"]["code.line.number"] == fun.__code__.co_firstlineno
        (event,) = span["events"]
        assert event["name"] == "exception"
        assert span["attributes"]["error.type"].split(".")[-1] == expected.__name__
        return {pair["key"]: pair["value"]["stringValue"] for pair in event["attributes"]}

    return call


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
