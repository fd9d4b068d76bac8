"""`examples/service` ends when it is told to, soon, and with every request answered."""

from __future__ import annotations

import signal
import socket
import threading
import time
from pathlib import Path
from queue import Queue
from typing import TYPE_CHECKING, Any

import pytest
from serving import LIMIT, Service, service

if TYPE_CHECKING:
    from collections.abc import Callable

STARTS = 20
# In place of the library, for what it does to the process: `get` runs in the handler of /relay.
HTTPX = """
import ctypes, os, signal, threading

class TransportError(Exception):
    pass

class AsyncClient:
    def __init__(self, timeout):
        {start}

    async def get(self, url, headers):
        {get}

    async def aclose(self):
        pass
"""


@pytest.fixture
def httpx(tmp_path: Path) -> Callable[..., Path]:
    """The folder of a module of that name, with what is run as the service starts and in /relay."""

    def written(start: str = "pass", get: str = "pass") -> Path:
        (tmp_path / "httpx.py").write_text(HTTPX.format(start=start, get=get))
        return tmp_path

    return written


class Load:
    """Clients that ask again and again, until nobody listens any more."""

    def __init__(self, running: Service, paths: list[str]) -> None:
        self.statuses: Queue[int] = Queue()
        self.clients = [
            threading.Thread(target=self._ask, args=(running, path), daemon=True) for path in paths
        ]
        for client in self.clients:
            client.start()

    def _ask(self, running: Service, path: str) -> None:
        while True:
            try:
                status, _ = running.get(path)
            except OSError:  # was not accepted any more
                return
            self.statuses.put(status)

    def seen(self) -> set[int]:
        """The statuses of all answers, after the last."""
        for client in self.clients:
            client.join(LIMIT)
            assert not client.is_alive()
        return set(self.statuses.queue)


@pytest.mark.parametrize("start", range(STARTS))
def test_ctrl_c_under_load_leaves_no_traceback(embedded: Any, start: int) -> None:
    with service(embedded) as running:
        load = Load(running, ["/hello/world", "/relay/world"] * 2)
        for _ in range(start + 1):  # each time at another moment
            assert load.statuses.get(timeout=LIMIT) in (200, 504)  # which is an answer, too
        for _ in range(start % 3 + 1):  # whoever presses it again changes nothing
            running.tell(signal.SIGINT)
        running.ended()
        assert load.seen() <= {200, 503, 504}


def test_ctrl_c_at_its_start_ends_it_as_well(embedded: Any, httpx: Callable[..., Path]) -> None:
    modules = httpx(start="os.kill(os.getpid(), signal.SIGINT)")
    with service(embedded, modules) as running:
        running.ended()


def test_pythons_own_handler_is_never_there(embedded: Any, httpx: Callable[..., Path]) -> None:
    # None: there is one, and it is not Python's.
    modules = httpx(start="assert signal.getsignal(signal.SIGINT) is None")
    with service(embedded, modules) as running:
        running.stop()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_under_way_is_answered(embedded: Any, number: int) -> None:
    with service(embedded) as running:
        answers: Queue[tuple[int, str]] = Queue()
        threading.Thread(
            target=lambda: answers.put(running.get("/sleepy/beauty")), daemon=True
        ).start()
        assert running.line() == "python: beauty sleeps\n"
        running.tell(number)
        assert answers.get(timeout=LIMIT)[0] == 504
        assert running.line() == "python: beauty was cancelled\n"
        running.ended()


def test_a_handler_whose_upstream_is_gone_answers_503(embedded: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as upstream:
        upstream.settimeout(LIMIT)
        url = f"http://127.0.0.1:{upstream.getsockname()[1]}"
        with service(embedded, UPSTREAM=url) as running:
            answers: Queue[tuple[int, str]] = Queue()
            threading.Thread(
                target=lambda: answers.put(running.get("/relay/world")), daemon=True
            ).start()
            asked, _ = upstream.accept()
            running.tell(signal.SIGINT)
            asked.close()  # as the service does, of those that it has not accepted by then
            status, text = answers.get(timeout=LIMIT)
            assert (status, text.partition(" ")[0]) == (503, "ConnectionError:")
            running.ended()


def unread(server: int, client: int) -> bool:
    """Whether the server has not yet accepted this client, or not read all that it has sent."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, _, queues, *_ = line.split()
        if local.endswith(f":{server:04X}") and remote.endswith(f":{client:04X}"):
            return not queues.endswith(":00000000")
    return True


def test_half_a_request_does_not_hold_its_end(embedded: Any) -> None:
    with (
        service(embedded) as running,
        socket.create_connection(("127.0.0.1", running.port), LIMIT) as client,
    ):
        client.sendall(b"GET /hello/world HTTP/1.1\r\n")
        end = time.monotonic() + LIMIT
        while unread(running.port, client.getsockname()[1]):
            assert time.monotonic() < end
            time.sleep(0.001)
        running.stop()


def test_a_handler_that_holds_its_loop_is_left_behind(
    embedded: Any, httpx: Callable[..., Path]
) -> None:
    with service(embedded, httpx(get="threading.Event().wait()")) as running:
        assert running.get("/relay/world")[0] == 504
        running.tell(signal.SIGINT)
        said = "gilscope-service: a handler holds the loop, and is left as it is\n"
        running.left(code=1, said=said, printed=["stopped, calls abandoned: 0\n"])


def test_a_handler_that_holds_the_gil_is_left_behind(
    embedded: Any, httpx: Callable[..., Path]
) -> None:
    hold = "while True: ctypes.PyDLL(None).sleep(3600)"
    with service(embedded, httpx(get=hold)) as running:
        assert running.get("/relay/world")[0] == 504
        running.tell(signal.SIGINT)
        said = "gilscope-service: not ended within 9 s, and left as it is\n"
        running.left(code=1, said=said, printed=[])
