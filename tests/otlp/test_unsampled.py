"""Spans that are not sampled take no room of those that are, and are not missed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accounts import NOTHING
from faulty import LIMIT

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from faulty import Faulty


def test_unsampled_spans_are_not_lost(
    faulty: Faulty, settings: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    settings(TRACES_SAMPLER="always_off", BSP_MAX_QUEUE_SIZE=100)
    with gilscope.instrument(otlp=faulty.url) as exporter, gilscope.PyRuntime() as rt:
        for future in [rt.submit(int) for _ in range(500)]:
            future.result(LIMIT)
        rt.shutdown()
        gilscope.stats()  # all but the loop's turns, which have no trace, is known by now
        exporter.close()
    spans_of_calls = 500 * 7
    assert exporter.exported + sum(exporter.lost.values()) < spans_of_calls
    assert exporter.lost == NOTHING
    assert capfd.readouterr().err == ""
