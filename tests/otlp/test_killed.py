"""A real collector that is killed while spans come, and started again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accounts import eventually, exporting, told_once

if TYPE_CHECKING:
    import pytest
    from otelcol import Collector


def kill(collector: Collector) -> None:
    """As a machine that fails does: it closes nothing."""
    assert collector.process is not None
    collector.process.kill()
    collector.process.wait()


def came(collector: Collector) -> set[str]:
    return {span["spanId"] for span in collector.receiver.spans()}


def test_b4_collector_that_is_killed(
    collector: Collector, protocol: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with exporting(collector.url(protocol)) as export:
        export.call(50)
        eventually(lambda: len(came(collector)) == export.exported >= 50 * 7)
        kill(collector)
        export.call(200)  # as before
        eventually(lambda: export.lost["export_failed"])
        export.call(200)
    assert export.lost_only("export_failed", "closed")
    assert len(came(collector)) == export.exported
    told_once(capfd, export)


def test_b4_collector_that_is_started_again(collector: Collector, protocol: str) -> None:
    with exporting(collector.url(protocol)) as export:
        export.call(50)
        eventually(lambda: len(came(collector)) == export.exported >= 50 * 7)
        kill(collector)
        export.call(50)
        eventually(lambda: export.exporter.failure)  # which is tried again: maybe in time
        collector.start()
        before = export.exported
        export.call(50)
        eventually(lambda: export.exported >= before + 50 * 7)
    assert not export.lost["queue_full"] + export.lost["rejected"] + export.lost["closed"]
    collector.stop()
    assert len(came(collector)) == len(collector.receiver.spans()) == export.exported
