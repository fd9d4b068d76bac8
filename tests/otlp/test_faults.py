"""A collector that is absent, slow, or says no: no call waits, and every span is accounted for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from accounts import NOTHING, TOLD, eventually, exporting, told_once, within_the_limit
from faulty import (
    HANGS_UP,
    LIMIT,
    REFUSED,
    TAKEN,
    TAKEN_BUT_3,
    TOO_MANY,
    UNAVAILABLE,
    Answer,
    Faulty,
    running,
    soon,
)
from otelcol import free_port

import gilscope
from gilscope import _native

if TYPE_CHECKING:
    from collections.abc import Callable


FOR_GOOD = [soon(TOO_MANY), UNAVAILABLE, HANGS_UP]


def test_b4_collector_that_is_absent(protocol: str, capfd: pytest.CaptureFixture[str]) -> None:
    with exporting(f"http://127.0.0.1:{free_port()}") as export:
        export.call(50)
    assert export.lost == {**NOTHING, "closed": export.recorded}
    assert "?" not in told_once(capfd, export)  # another port is not thought of where nobody is


@pytest.mark.parametrize(
    "busy",
    [soon(TOO_MANY), UNAVAILABLE, soon(UNAVAILABLE)],
    ids=["429-retry-after", "503", "503-retry-after"],
)
def test_b4_collector_that_is_busy_is_asked_again(
    faulty: Faulty, busy: Answer, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty.answers = [busy, TAKEN]
    with exporting(faulty) as export:
        export.call(50)
        eventually(lambda: export.exported > 0)
    assert export.lost == NOTHING
    assert faulty.given[:2] == [busy, TAKEN]
    assert len(set(faulty.ids())) == len(faulty.ids()) == export.recorded
    assert capfd.readouterr().err == ""


def test_b4_collector_that_is_exhausted_says_by_grpc_that_it_may_be_asked_again(
    faulty: Faulty,
) -> None:
    faulty.answers = [TOO_MANY, TAKEN]  # and does not say so
    with exporting(faulty) as export:
        export.call(50)
        eventually(lambda: export.accounted() > 0)
        assert faulty.given[0] == TOO_MANY
        refused = faulty.requests.count(faulty.requests[0]) == 1
        assert refused == (faulty.protocol == "grpc")
        assert export.lost_only("export_failed") if refused else export.lost == NOTHING


@pytest.mark.parametrize("status", [502, 504])
def test_b4_proxy_that_has_no_collector_is_asked_again(
    settings: Callable[..., None], status: int
) -> None:
    with running("http/protobuf") as faulty:
        faulty.answers = [soon(Answer(status, 14))] * 2 + [TAKEN]
        with exporting(faulty) as export:
            export.call(50)
            eventually(lambda: export.exported > 0)
    assert export.lost == NOTHING
    assert [answer.http for answer in faulty.given[:3]] == [status, status, 200]


@pytest.mark.parametrize("busy", FOR_GOOD, ids=["429", "503", "hangs up"])
def test_b4_collector_that_is_busy_for_good_is_given_up(
    faulty: Faulty, busy: Answer, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty.answers = [busy]
    with exporting(faulty) as export:
        export.call(50)
        eventually(lambda: export.lost["export_failed"])
        assert faulty.given[:4] == [busy] * 4
        assert len(set(faulty.requests[:4])) == 1  # the same, each time
        assert faulty.requests.count(faulty.requests[0]) == 4
        faulty.answers = [TAKEN]
        export.call(50)
        eventually(lambda: export.exported)
    assert export.lost_only("export_failed")
    assert export.exported == len(set(faulty.ids()))
    told_once(capfd, export)


def test_b4_collector_that_is_busy_at_the_end_is_not_waited_for(
    faulty: Faulty, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty.answers = [Answer(503, 14, {"Retry-After": "600"})]
    with exporting(faulty) as export:
        export.call(50)
        eventually(lambda: faulty.given)
    assert export.lost == {**NOTHING, "closed": export.recorded}
    told_once(capfd, export)


def test_b4_collector_that_refuses_is_not_asked_again(
    faulty: Faulty, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty.answers = [REFUSED]
    with exporting(faulty) as export:
        export.call(50)
    assert export.lost == {**NOTHING, "export_failed": export.recorded}
    assert len(set(faulty.requests)) == len(faulty.requests)
    assert export.exporter.failure is not None
    path = "/v1/traces" if faulty.protocol == "http/protobuf" else ""
    said = f"{export.exporter.failure} ({faulty.protocol} to {faulty.url}{path})\n"
    assert told_once(capfd, export) == TOLD + said
    if faulty.protocol == "http/protobuf":
        assert export.exporter.failure == "HTTP 400 Bad Request"


def test_b4_spans_that_a_collector_rejects_are_counted(
    faulty: Faulty, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty.answers = [TAKEN_BUT_3, TAKEN]
    with exporting(faulty) as export:
        export.call(50)
    # The first request may have less.
    rejected = min(3, len(faulty.spans_of(0)))
    assert export.lost == {**NOTHING, "rejected": rejected}
    assert "rejects them: no room" in told_once(capfd, export)


def test_b4_collector_that_never_answers_holds_up_nothing(
    faulty: Faulty, capfd: pytest.CaptureFixture[str]
) -> None:
    faulty.hold.clear()
    with exporting(faulty) as export:
        export.call(1)
        assert faulty.reached.wait(LIMIT)
        for _ in range(3):
            export.call(100)  # while a request is on its way
            within_the_limit(gilscope.stats)  # nor does who reads what was recorded
    assert not faulty.hold.is_set()
    assert export.lost == {**NOTHING, "closed": export.recorded}
    assert "there was no time left" in told_once(capfd, export)


def test_b4_request_that_is_never_answered_is_given_up(
    faulty: Faulty, settings: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    settings(EXPORTER_OTLP_TIMEOUT=50)
    faulty.hold.clear()
    with exporting(faulty) as export:
        export.call(1)
        eventually(lambda: export.lost["export_failed"])
        export.call(200)
    assert export.exported == 0
    assert not faulty.given
    told_once(capfd, export)


@pytest.mark.parametrize("answers", [False, True], ids=["no answer", "not now"])
def test_b4_export_that_takes_too_long_is_given_up(
    faulty: Faulty,
    settings: Callable[..., None],
    capfd: pytest.CaptureFixture[str],
    answers: bool,
) -> None:
    # Enough for one answer, and less than what it says to wait.
    settings(BSP_EXPORT_TIMEOUT=1000 if answers else 50)
    if answers:
        faulty.answers = [Answer(503, 14, {"Retry-After": "5"})]
    else:
        faulty.hold.clear()
    with exporting(faulty) as export:
        export.call(1)
        eventually(lambda: export.lost["export_failed"])
        assert len(faulty.requests) == 1 if answers else not faulty.given
    assert export.exported == 0
    said = told_once(capfd, export)
    assert ("unavailable" in said.lower()) if answers else ("within the time" in said)


def test_b4_time_of_0_is_no_limit(faulty: Faulty, settings: Callable[..., None]) -> None:
    settings(EXPORTER_OTLP_TIMEOUT=0, BSP_EXPORT_TIMEOUT=0)
    faulty.hold.clear()
    with exporting(faulty) as export:
        export.call(50)
        assert faulty.reached.wait(LIMIT)
        faulty.hold.set()
        eventually(lambda: export.exported)
    assert export.lost == NOTHING


def test_b4_collector_that_answers_late(faulty: Faulty, capfd: pytest.CaptureFixture[str]) -> None:
    faulty.hold.clear()
    with exporting(faulty) as export:
        export.call(1)
        for _ in range(3):
            assert faulty.reached.wait(LIMIT)
            before = export.exported
            export.call(50)
            assert export.exported == before  # all these calls ended while it thought
            faulty.reached.clear()
            faulty.hold.set()
            eventually(lambda before=before: export.exported > before)
            faulty.hold.clear()
            export.call(1)
        faulty.hold.set()
    assert export.lost == NOTHING
    assert len(set(faulty.ids())) == len(faulty.ids()) == export.recorded
    assert capfd.readouterr().err == ""


def test_b4_queue_is_bounded(
    faulty: Faulty, settings: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    settings(BSP_MAX_QUEUE_SIZE=100, BSP_MAX_EXPORT_BATCH_SIZE=50, BSP_SCHEDULE_DELAY=10)
    faulty.hold.clear()
    before = gilscope.stats()["dropped"]
    with exporting(faulty) as export:
        export.call(500)
        gilscope.stats()  # everything has been handed to the sinks
        # One batch is on its way, and what the queue holds.
        assert export.recorded == export.exported == 0
        faulty.hold.set()
    assert export.lost_only("queue_full")
    assert export.lost["queue_full"] >= 7 * 500 - 100 - 50
    # OTLP's own losses, of nobody else.
    now = gilscope.stats()["dropped"]
    lost = {reason: now[reason] - before[reason] for reason in now}
    assert lost == {**dict.fromkeys(before, 0), **export.lost}
    with gilscope.PyRuntime() as rt:
        assert rt.stats()["dropped"] == now
    _native.reset_stats()
    assert not any(gilscope.stats()["dropped"].values())
    assert "slower than the calls" in told_once(capfd, export)
