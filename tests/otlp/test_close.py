"""Closing takes the time it is given, and a signal whose endpoint is dead takes none of another."""

from __future__ import annotations

import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from accounts import NOTHING, TOLD, exporting, told_once
from faulty import LIMIT, REFUSED, TAKEN, UNAVAILABLE, Answer, Faulty, counted, running
from otelcol import free_port

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# The first try of what is left fails, and a second passes before the next.
LATER = Answer(UNAVAILABLE.http, UNAVAILABLE.grpc, {"Retry-After": "2"})
PATHS = {"TRACES": "v1/traces", "METRICS": "v1/metrics"}


@contextmanager
def dead(how: str) -> Iterator[str]:
    """An address where nobody takes anything."""
    if how == "refuses":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@pytest.mark.parametrize("how", ["refuses", "is silent"])
@pytest.mark.parametrize("bad", ["TRACES", "METRICS"])
def test_b4_dead_endpoint_of_one_signal_takes_no_time_of_the_other(
    protocol: str,
    settings: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    bad: str,
    how: str,
) -> None:
    with running(protocol) as faulty, dead(how) as nowhere:
        for signal, path in PATHS.items():
            url = nowhere if signal == bad else faulty.url
            settings(**{f"EXPORTER_OTLP_{signal}_ENDPOINT": f"{url}/{path}"})
        with exporting(None, close_within=6) as export:
            export.call(10)
        told = capfd.readouterr().err
        assert faulty.url not in told
        if bad == "TRACES":
            assert faulty.metrics
            assert told.startswith(TOLD)
            assert export.exported == 0
        else:
            assert "metrics are lost" in told
            assert export.lost == NOTHING


def test_metrics_say_what_was_lost_at_the_end(faulty: Faulty) -> None:
    """The first of the last requests cannot know it yet."""
    faulty.answers = [REFUSED]
    with exporting(faulty, close_within=LIMIT) as export:
        export.call(10)
    assert export.lost == {**NOTHING, "export_failed": export.recorded}
    assert counted("export_failed", faulty.metrics[-1]) == export.recorded


def test_close_within_a_longer_time_waits_for_what_is_taken_later(
    faulty: Faulty, settings: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    settings(BSP_SCHEDULE_DELAY=600_000)  # all is sent at the end
    faulty.answers = [LATER, TAKEN]
    with exporting(faulty, close_within=2 * LIMIT) as export:
        export.call(10)
    assert export.lost == NOTHING
    assert faulty.given[:2] == [LATER, TAKEN]
    assert capfd.readouterr().err == ""


def test_close_within_a_short_time_returns_though_nobody_answers(
    faulty: Faulty, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty.hold.clear()
    faulty.hold_metrics.clear()
    with exporting(faulty, close_within=0.2) as export:
        export.call(10)
        assert faulty.reached.wait(LIMIT)
    # Its end did not wait, and of itself no try ends before ten minutes are over.
    assert export.lost == {**NOTHING, "closed": export.recorded}
    told_once(capfd, export)


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_time_to_close_that_is_none_is_refused(faulty: Faulty, seconds: float) -> None:
    with pytest.raises(ValueError, match="close_within must be a number of seconds, not "):
        gilscope.instrument(otlp=faulty.url, close_within=seconds)
