"""A file served once, on loopback, to Perfetto's page and to nobody else."""

from __future__ import annotations

import errno
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from gilscope.view.errors import BadTrace

PAGE = "https://ui.perfetto.dev"
# The one port of plain HTTP that the page's policy lets it read from.
PORT = 9001
_NAME = "trace.json"
_PATIENCE = 60.0


class Server:
    """Bound when made; raises `BadTrace` if the port is taken."""

    def __init__(self, text: str) -> None:
        self._text = text.encode()
        try:
            self._server = _Once(("127.0.0.1", PORT), self._text)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise BadTrace(f"cannot listen on 127.0.0.1:{PORT}: {error.strerror}") from None
            hint = "end what listens there, or write a file to drop on the page: --perfetto=FILE"
            raise BadTrace(
                f"port {PORT} of 127.0.0.1 is in use, and {PAGE} reads from no other", hint
            ) from None

    @property
    def address(self) -> str:
        """What to open in a browser."""
        return f"{PAGE}/#!/?url=http://127.0.0.1:{PORT}/{_NAME}"

    def serve(self) -> None:
        """Return when the file was taken; `KeyboardInterrupt` goes through."""
        try:
            self._server.serve_forever(poll_interval=0.1)
        finally:
            self._server.server_close()


class _Once(ThreadingHTTPServer):
    # A browser may open connections and say nothing on them.
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], text: bytes) -> None:
        self.text = text
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a browser that goes away is no error."""


class _Handler(BaseHTTPRequestHandler):
    server: _Once
    timeout = _PATIENCE

    def do_GET(self) -> None:
        if not self._is_ours():
            return
        self._head(200, len(self.server.text))
        self.wfile.write(self.server.text)
        self.wfile.flush()
        threading.Thread(target=self.server.shutdown).start()

    def do_OPTIONS(self) -> None:
        """Answer a browser that asks whether a public page may read from loopback."""
        if self._is_ours():
            self._head(204, 0)

    def _is_ours(self) -> bool:
        """Refuse what is not for this file, or comes under a name that somebody else may own."""
        named = self.headers.get("Host", "") in (f"127.0.0.1:{PORT}", f"localhost:{PORT}")
        if named and self.path.partition("?")[0] == f"/{_NAME}":
            return True
        self.send_error(404)
        return False

    def _head(self, code: int, length: int) -> None:
        self.send_response(code)
        self.send_header("Access-Control-Allow-Origin", PAGE)
        self.send_header("Access-Control-Allow-Private-Network", "true")
        self.send_header("Cache-Control", "no-store")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(length))
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet."""
