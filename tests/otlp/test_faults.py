"""A collector that is absent, slow, or says no: no call waits, and every span is accounted for."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest
from otelcol import free_port

import gilscope

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LIMIT = 30
NOTHING = {"queue_full": 0, "export_failed": 0, "rejected": 0, "closed": 0}


class Answers:
    """A collector that answers as it is told, the last answer for ever: status, headers, body."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, dict[str, str], bytes]] = [(200, {}, b"")]
        self.taken: list[int] = []
        self.hold = threading.Event()
        self.hold.set()
        self.reached = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                if self.path != "/v1/traces":
                    self.send_response(200)
                    self.end_headers()
                    return
                outer.reached.set()
                assert outer.hold.wait(LIMIT)
                answers = outer.answers
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                outer.taken.append(status)
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *args: object) -> None:
                """An exporter that gives up closes its connection."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def collector() -> Iterator[Answers]:
    """A collector of the test's own."""
    answers = Answers()
    yield answers
    answers.hold.set()
    answers.server.shutdown()
    answers.server.server_close()


def export(url: str, calls: int = 50) -> tuple[gilscope.instrument, int]:
    """Make calls and export them; the exporter, closed, and how many spans there were of calls."""
    with gilscope.trace() as trace, gilscope.instrument(otlp=url) as exporter:
        with gilscope.PyRuntime() as rt:
            for future in [rt.submit(int) for _ in range(calls)]:
                future.result(LIMIT)
        exporter.close()
        spans = len(trace.spans)
    return exporter, spans


def accounted(exporter: gilscope.instrument, spans: int) -> bool:
    """Whether each span was exported or lost; the loop's last turns may come after the close."""
    return 0 <= spans - exporter.exported - sum(exporter.lost.values()) < 5


def test_b4_collector_that_is_absent(capfd: pytest.CaptureFixture[str]) -> None:
    exporter, spans = export(f"http://127.0.0.1:{free_port()}")
    assert exporter.exported == 0
    assert accounted(exporter, spans)
    assert exporter.lost == {**NOTHING, "closed": exporter.lost["closed"]}
    told = capfd.readouterr().err
    assert told.startswith("gilscope: spans are lost on their way to the collector: ")
    assert "?" not in told  # whether it is another port is not asked of one where nobody is
    assert told.count("\n") == 1


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_b4_collector_that_is_busy_is_asked_again(collector: Answers, status: int) -> None:
    collector.answers = [(status, {"Retry-After": "0"}, b"")] * 2 + [(200, {}, b"")]
    exporter, spans = export(collector.url)
    assert exporter.lost == NOTHING
    assert accounted(exporter, spans)
    assert collector.taken[:3] == [status, status, 200]


def test_b4_collector_that_refuses_is_not_asked_again(
    collector: Answers, capfd: pytest.CaptureFixture[str]
) -> None:
    collector.answers = [(400, {}, b"")]
    exporter, spans = export(collector.url)
    assert exporter.exported == 0
    assert exporter.lost == {**NOTHING, "export_failed": exporter.lost["export_failed"]}
    assert accounted(exporter, spans)
    assert exporter.failure == "HTTP 400 Bad Request"
    told = f"HTTP 400 Bad Request (http/protobuf to {collector.url})\n"
    assert capfd.readouterr().err.endswith(told)


def test_b4_collector_that_is_busy_for_good_is_given_up(
    collector: Answers, capfd: pytest.CaptureFixture[str]
) -> None:
    collector.answers = [(503, {"Retry-After": "0"}, b"")]
    exporter, spans = export(collector.url)
    assert exporter.lost["export_failed"] > 0
    assert accounted(exporter, spans)
    assert collector.taken == [503] * 4
    assert capfd.readouterr().err.count("\n") == 1


def test_b4_spans_that_a_collector_rejects_are_counted(
    collector: Answers, capfd: pytest.CaptureFixture[str]
) -> None:
    # ExportTraceServiceResponse { partial_success { rejected_spans: 3 } }
    collector.answers = [(200, {}, b"\x0a\x02\x08\x03"), (200, {}, b"")]
    exporter, spans = export(collector.url)
    assert exporter.lost == {**NOTHING, "rejected": 3}
    assert accounted(exporter, spans)
    assert capfd.readouterr().err.count("\n") == 1


def test_b4_collector_that_never_answers_holds_up_nothing(
    collector: Answers, capfd: pytest.CaptureFixture[str]
) -> None:
    collector.hold.clear()
    with gilscope.instrument(otlp=collector.url) as exporter, gilscope.PyRuntime() as rt:
        rt.call(int)
        assert collector.reached.wait(LIMIT)
        for future in [rt.submit(int) for _ in range(100)]:
            future.result(LIMIT)  # while a request is on its way
        exporter.close()
    assert not collector.hold.is_set()
    assert exporter.exported == 0
    assert exporter.lost == {**NOTHING, "closed": exporter.lost["closed"]}
    assert exporter.lost["closed"] > 100
    assert capfd.readouterr().err.count("\n") == 1


def test_b4_queue_is_bounded(
    collector: Answers, settings: Callable[..., None], capfd: pytest.CaptureFixture[str]
) -> None:
    settings(BSP_MAX_QUEUE_SIZE=100, BSP_MAX_EXPORT_BATCH_SIZE=50, BSP_SCHEDULE_DELAY=10)
    collector.hold.clear()
    with gilscope.trace() as trace, gilscope.instrument(otlp=collector.url) as exporter:
        with gilscope.PyRuntime() as rt:
            for future in [rt.submit(int) for _ in range(500)]:
                future.result(LIMIT)
            gilscope.stats()  # everything has been handed to the sinks
            collector.hold.set()
        exporter.close()
        spans = len(trace.spans)
    assert exporter.lost["queue_full"] >= 7 * 500 - 100 - 50
    assert exporter.lost["closed"] == 0
    assert accounted(exporter, spans)
    assert gilscope.stats()["dropped"]["sink"] >= exporter.lost["queue_full"]
    assert capfd.readouterr().err.count("\n") == 1


def test_b4_collector_that_comes_back(
    collector: Answers, capfd: pytest.CaptureFixture[str], eventually: Callable[..., None]
) -> None:
    collector.answers = [(400, {}, b""), (200, {}, b"")]
    with gilscope.instrument(otlp=collector.url) as exporter, gilscope.PyRuntime() as rt:
        rt.call(int)
        eventually(lambda: exporter.lost["export_failed"] > 0)
        rt.call(int)
        eventually(lambda: exporter.exported > 0)
    assert capfd.readouterr().err.count("\n") == 1


def test_process_that_ends_while_exporting(script: Callable[..., str], collector: Answers) -> None:
    code = """
        import sys, gilscope
        gilscope.instrument(otlp=sys.argv[1])
        rt = gilscope.py_runtime()
        for future in [rt.submit(int) for _ in range(20)]:
            future.result()
    """
    script(code, collector.url)  # nothing on stderr: all of it went out at exit
    assert set(collector.taken) == {200}


def test_b4_process_that_ends_while_its_collector_does_not_answer(collector: Answers) -> None:
    collector.hold.clear()
    code = """if True:
        import sys, gilscope
        gilscope.instrument(otlp=sys.argv[1])
        gilscope.py_runtime().call(int)
    """
    command = [sys.executable, "-c", code, collector.url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT)
    assert done.returncode == 0
    assert done.stderr.startswith("gilscope: spans are lost on their way to the collector: ")
    assert done.stderr.count("\n") == 1


def test_fork_while_exporting(script: Callable[..., str], collector: Answers) -> None:
    code = """
        import os, sys, warnings, gilscope
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns of forks beside threads
        exporter = gilscope.instrument(otlp=sys.argv[1])
        rt = gilscope.py_runtime()
        futures = [rt.submit(int) for _ in range(1000)]
        for _ in range(5):
            if (pid := os.fork()) == 0:
                assert not exporter.active
                exporter.close()
                with gilscope.instrument(otlp=sys.argv[1]) as own:
                    gilscope.py_runtime().call(int)
                    gilscope.py_runtime().shutdown()
                assert own.exported >= 7, own.lost
                sys.exit(3)
            assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        for future in futures:
            future.result()
        rt.shutdown()
        exporter.close()
        print(exporter.exported >= 7000, sum(exporter.lost.values()))
    """
    assert script(code, collector.url) == "True 0\n"
