"""What is set for traces alone, or for metrics alone, holds for them and for nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from accounts import NOTHING, eventually, exporting
from faulty import PROTOCOLS, Faulty, running

if TYPE_CHECKING:
    from collections.abc import Callable

OTHER = {"grpc": "http/protobuf", "http/protobuf": "grpc"}
SIGNALS = ["TRACES", "METRICS"]


def kinds(collector: Faulty) -> set[str]:
    """What came to it."""
    return {kind for kind, packed in collector.packed.items() if packed}


def paths(collector: Faulty) -> set[bytes]:
    return {head.partition(b"\n")[0] for head in collector.heads}


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("signal", SIGNALS)
def test_signal_has_settings_of_its_own(
    settings: Callable[..., None], signal: str, protocol: str
) -> None:
    with running(protocol) as own, running(OTHER[protocol]) as common:
        of_its_own = {
            "ENDPOINT": f"{own.url}/a/path" if protocol == "http/protobuf" else own.url,
            "PROTOCOL": protocol,
            "HEADERS": "cite=%74actics,%61t=1",
            "COMPRESSION": "gzip",
        }
        settings(**{f"EXPORTER_OTLP_{signal}_{what}": it for what, it in of_its_own.items()})
        settings(
            EXPORTER_OTLP_ENDPOINT=common.url,
            EXPORTER_OTLP_PROTOCOL=OTHER[protocol],
            EXPORTER_OTLP_HEADERS="cite=states,oat=2",
            EXPORTER_OTLP_COMPRESSION="none",
            METRIC_EXPORT_INTERVAL=20,
            BSP_SCHEDULE_DELAY=20,
        )
        with exporting(None) as export:
            export.call(50)
            eventually(lambda: kinds(own) and kinds(common) and export.exported >= 7 * 50)
        assert export.lost == NOTHING
    spans, metrics = (own, common) if signal == "TRACES" else (common, own)
    assert (kinds(spans), kinds(metrics)) == ({"spans"}, {"metrics"})
    assert own.packed[kinds(own).pop()] == {True}
    assert common.packed[kinds(common).pop()] == {False}
    assert own.was_told("cite", "tactics")
    assert own.was_told("at", "1")
    assert not own.was_told("cite", "states")
    assert not own.was_told("oat", "2")
    assert common.was_told("cite", "states")
    assert common.was_told("oat", "2")
    assert not common.was_told("cite", "tactics")
    if protocol == "http/protobuf":
        assert paths(own) == {b"/a/path"}
    else:
        assert paths(common) == {b"/v1/metrics" if signal == "TRACES" else b"/v1/traces"}


@pytest.mark.parametrize("signal", SIGNALS)
def test_signal_has_a_time_of_its_own(
    protocol: str,
    settings: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    signal: str,
) -> None:
    settings(**{f"EXPORTER_OTLP_{signal}_TIMEOUT": 50}, METRIC_EXPORT_INTERVAL=20)
    lost = "gilscope: metrics are lost on their way to the collector: "
    told = ""
    with running(protocol) as spans, running(protocol) as metrics:
        settings(
            EXPORTER_OTLP_TRACES_ENDPOINT=spans.url, EXPORTER_OTLP_METRICS_ENDPOINT=metrics.url
        )
        spans.hold.clear()
        metrics.hold_metrics.clear()

        def is_told() -> bool:
            nonlocal told
            told += capfd.readouterr().err
            return lost in told

        with exporting(None) as export:
            export.call(50)
            assert spans.reached.wait(30)
            eventually(lambda: metrics.metrics)
            if signal == "TRACES":
                eventually(lambda: export.lost["export_failed"])
                assert not is_told()
            else:
                eventually(is_told)
                assert export.accounted() == 0
        assert is_told()
        why = told.partition(lost)[2].partition("\n")[0]
        assert ("no time left" in why) == (signal == "TRACES")
        failed = export.lost["export_failed"]
        assert failed if signal == "TRACES" else export.lost_only("closed")
