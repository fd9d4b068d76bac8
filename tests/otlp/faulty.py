"""Collectors that misbehave as they are told, by HTTP and by gRPC."""

from __future__ import annotations

import base64
import gzip
import re
import struct
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedIOBase

LIMIT = 30
PROTOCOLS = ["grpc", "http/protobuf"]
# Only requests of metrics have the name of one.
METRICS = b"gilscope.call.duration"


@dataclass(frozen=True)
class Answer:
    """What a request is answered: the same by HTTP and by gRPC."""

    http: int
    grpc: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    hangs_up: bool = False


TAKEN = Answer(200, 0)
# ExportTraceServiceResponse { partial_success { rejected_spans: 3, error_message: "no room" } }
TAKEN_BUT_3 = Answer(200, 0, body=b"\x0a\x0b\x08\x03\x12\x07no room")
REFUSED = Answer(400, 3)
TOO_MANY = Answer(429, 8)
UNAVAILABLE = Answer(503, 14)
HANGS_UP = Answer(0, 0, hangs_up=True)


def soon(answer: Answer) -> Answer:
    """The same, which says to come back at once: by HTTP a header, by gRPC a `RetryInfo`."""
    return Answer(answer.http, answer.grpc, {"Retry-After": "0"})


class Faulty:
    """A collector that answers as it is told, the last answer for ever."""

    def __init__(self, protocol: str) -> None:
        self.protocol = protocol
        self.answers: list[Answer] = [TAKEN]
        self.given: list[Answer] = []
        self.requests: list[bytes] = []
        """What came, of spans, whatever was answered."""
        self.taken: list[bytes] = []
        self.metrics: list[bytes] = []
        self.heads: list[bytes] = []
        """Path and headers of each request by HTTP; by gRPC as they are packed."""
        self.packed: dict[str, set[bool]] = {"spans": set(), "metrics": set()}
        """Whether what came was compressed."""
        self.metrics_answer = TAKEN
        self.hold = threading.Event()
        """While it is cleared nothing is answered."""
        self.hold.set()
        self.hold_metrics = threading.Event()
        self.hold_metrics.set()
        self.reached = threading.Event()
        handler = _grpc(self) if protocol == "grpc" else _http(self)
        self.server = (_GrpcServer if protocol == "grpc" else _HttpServer)(
            ("127.0.0.1", 0), handler
        )
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def answer(self, body: bytes, *, packed: bool) -> Answer:
        """What a request is answered, once it may be."""
        if packed:
            body = gzip.decompress(body)
        self.packed["metrics" if METRICS in body else "spans"].add(packed)
        if METRICS in body:
            self.metrics.append(body)
            assert self.hold_metrics.wait(4 * LIMIT)
            return self.metrics_answer
        self.requests.append(body)
        self.reached.set()
        assert self.hold.wait(4 * LIMIT)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        self.given.append(answer)
        if answer.http == 200:
            self.taken.append(body)
        return answer

    def ids(self) -> list[bytes]:
        """The ids of the spans that were taken."""
        return [span for body in list(self.taken) for span in _ids(body)]

    def spans_of(self, request: int) -> list[bytes]:
        """The ids of the spans in a request."""
        return list(_ids(self.requests[request]))

    def was_told(self, name: str, value: str) -> bool:
        """Whether a request had this header, in which by gRPC only `SHORT` may be."""
        said = f"\n{name}: {value}\n".encode()
        if self.protocol == "grpc":
            said = _huffman(name) + _huffman(value)
        return any(said in head for head in self.heads)

    def close(self) -> None:
        self.hold.set()
        self.hold_metrics.set()
        self.server.shutdown()
        self.server.server_close()


class _Quiet:
    """An exporter that gives up closes its connection: no more is to be said about that."""

    daemon_threads = True
    block_on_close = False

    def handle_error(self, *args: object) -> None:
        pass


class _HttpServer(_Quiet, ThreadingHTTPServer):
    pass


class _GrpcServer(_Quiet, ThreadingTCPServer):
    pass


def _http(collector: Faulty) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.heads.append(f"{self.path}\n{self.headers}".encode())
            packed = self.headers["Content-Encoding"] == "gzip"
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = collector.answer(body, packed=packed)
            if answer.hangs_up:
                self.close_connection = True
                return
            self.send_response(answer.http)
            headers = {**answer.headers, "Content-Length": str(len(answer.body))}
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, *args: object) -> None:
            pass

    return Handler


# Frames of HTTP/2, as far as one client needs them that sends one request at a time.
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _WINDOW = 0, 1, 3, 4, 6, 8
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_MOST = 2**31 - 1


def _frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body))[1:] + struct.pack(">BBI", kind, flags, stream) + body


# The characters that are five bits long in the code that headers are packed by, by their code.
SHORT = "012aceiost"


def _huffman(text: str) -> bytes:
    """A text of such characters, with its length before it."""
    bits = "".join(f"{SHORT.index(it):05b}" for it in text)
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8)
    return bytes([0x80 | len(packed)]) + packed


def _field(name: str, value: str) -> bytes:
    """A header, not indexed and not compressed."""
    return b"\0" + b"".join(bytes([len(it)]) + it.encode() for it in (name, value))


def _part(number: int, body: bytes) -> bytes:
    """A field of a protobuf message, of less than 128 bytes."""
    return bytes([number << 3 | 2, len(body)]) + body


def _retry_info(seconds: int) -> str:
    """`google.rpc.Status` with a `RetryInfo`, as its header has it."""
    low, high = seconds & 0x7F, seconds >> 7
    delay = bytes([8, low | 0x80, high]) if high else bytes([8, low])
    name = b"type.googleapis.com/google.rpc.RetryInfo"
    status = _part(3, _part(1, name) + _part(2, _part(1, delay)))
    return base64.b64encode(status).decode().rstrip("=")


def _replies(stream: int, answer: Answer) -> bytes:
    head = b"\x88" + _field("content-type", "application/grpc")  # :status 200
    last = _field("grpc-status", str(answer.grpc))
    if (after := answer.headers.get("Retry-After")) is not None:
        last += _field("grpc-status-details-bin", _retry_info(int(after)))
    if answer.grpc:
        return _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, head + last)
    message = b"\0" + struct.pack(">I", len(answer.body)) + answer.body
    return (
        _frame(_HEADERS, _END_HEADERS, stream, head)
        + _frame(_DATA, 0, stream, message)
        + _frame(_HEADERS, _END_HEADERS | _END_STREAM, stream, last)
    )


def _frames(read: BufferedIOBase) -> Iterator[tuple[int, int, int, bytes]]:
    while len(head := read.read(9)) == 9:
        kind, flags, stream = struct.unpack(">BBI", head[3:])
        yield kind, flags, stream, read.read(int.from_bytes(head[:3], "big"))


def _grpc(collector: Faulty) -> type[StreamRequestHandler]:
    class Handler(StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.read(24)  # the preface
            # Room for all that is ever sent.
            room = struct.pack(">HI", 4, _MOST)
            self.wfile.write(_frame(_SETTINGS, 0, 0, room))
            self.wfile.write(_frame(_WINDOW, 0, 0, struct.pack(">I", _MOST - 65_535)))
            bodies: dict[int, bytes] = {}
            for kind, flags, stream, body in _frames(self.rfile):
                if kind in (_SETTINGS, _PING) and not flags & _ACK:
                    self.wfile.write(_frame(kind, _ACK, 0, body if kind == _PING else b""))
                elif kind == _HEADERS:
                    collector.heads.append(body)
                elif kind == _RST:
                    bodies.pop(stream, None)
                elif kind == _DATA:
                    bodies[stream] = bodies.get(stream, b"") + body
                    if flags & _END_STREAM:
                        message = bodies.pop(stream)
                        answer = collector.answer(message[5:], packed=message[0] == 1)
                        if answer.hangs_up:
                            return
                        self.wfile.write(_replies(stream, answer))

    return Handler


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """The fields of a protobuf message that are bytes, texts or messages."""
    at = 0

    def number() -> int:
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(message):
        key = number()
        kind = key & 7
        if kind == 0:
            number()
            continue
        length = number() if kind == 2 else {1: 8, 5: 4}[kind]
        at += length
        if kind == 2:
            yield key >> 3, message[at - length : at]


def _ids(request: bytes) -> Iterator[bytes]:
    """The ids of a request's spans: of its resources the scopes, of these the spans."""
    messages = [request]
    for field_number in (1, 2, 2):
        messages = [part for it in messages for key, part in _fields(it) if key == field_number]
    for span in messages:
        yield next(part for key, part in _fields(span) if key == 2)


def counted(reason: str, request: bytes) -> int:
    """What `gilscope.dropped` says of that reason: a number before its attribute."""
    text = re.escape(bytes([len(reason)]) + reason.encode())
    found = re.search(rb"\x31(.{8})\x3a[^\x31]{1,40}\x0a" + text, request, re.DOTALL)
    assert found is not None
    return int.from_bytes(found[1], "little")


@contextmanager
def running(protocol: str) -> Iterator[Faulty]:
    """A collector that runs while the block does."""
    collector = Faulty(protocol)
    try:
        yield collector
    finally:
        with suppress(OSError):
            collector.close()
