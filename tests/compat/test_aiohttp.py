"""aiohttp on loopback: the server lives on a runtime, the clients are calls."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientSession, ClientTimeout, WSMsgType, web

import gilscope

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator


class Service:
    """A server and a client session, opened and closed by the runtime's hooks."""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/double/{n}", self.double)
        app.router.add_post("/echo", self.echo)
        app.router.add_get("/rust", self.rust)
        app.router.add_get("/broken", self.broken)
        app.router.add_get("/never", self.never)
        app.router.add_get("/stream", self.stream)
        app.router.add_get("/socket", self.socket)
        self.cancelled = asyncio.Event()
        self.runner = web.AppRunner(app, handler_cancellation=True)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        self.client = ClientSession(self.url)
        self.is_closed = False

    async def stop(self) -> None:
        await self.client.close()
        await self.runner.cleanup()
        self.is_closed = True

    async def double(self, request: web.Request) -> web.Response:
        await asyncio.sleep(0.001)
        return web.json_response(2 * int(request.match_info["n"]))

    async def echo(self, request: web.Request) -> web.Response:
        return web.Response(body=await request.read())

    async def rust(self, request: web.Request) -> web.Response:
        await gilscope.rust.sleep(0.001)
        return web.Response(text=await gilscope.rust.sha256(b"abc"))

    async def broken(self, request: web.Request) -> web.Response:
        raise web.HTTPConflict(text="not now")

    async def never(self, request: web.Request) -> web.Response:
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        raise AssertionError("the event was never set")

    async def stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for number in range(50):
            await response.write(b"%d\n" % number)
        await response.write_eof()
        return response

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            if message.type is WSMsgType.TEXT:
                await socket.send_str(message.data[::-1])
        return socket

    # What the tests call.

    async def get_double(self, n: int) -> int:
        async with self.client.get(f"/double/{n}") as response:
            result: int = await response.json()
            return result

    async def get(self, path: str, **options: Any) -> tuple[int, str]:
        async with self.client.get(path, **options) as response:
            return response.status, await response.text()

    async def post(self, body: bytes) -> bytes:
        async with self.client.post("/echo", data=body) as response:
            return await response.read()

    async def lines(self) -> AsyncIterator[bytes]:
        async with self.client.get("/stream") as response:
            async for line in response.content:
                yield line

    async def talk(self, *words: str) -> list[str]:
        async with self.client.ws_connect("/socket") as socket:
            answers = []
            for word in words:
                await socket.send_str(word)
                answers.append(await socket.receive_str())
            return answers


@pytest.fixture
def service() -> Iterator[tuple[Service, gilscope.PyRuntime]]:
    service = Service()
    runtime = gilscope.PyRuntime(on_start=service.start, on_stop=service.stop)
    yield service, runtime
    assert runtime.shutdown("cancel", deadline=20)["joined"]
    assert service.is_closed


def test_200_clients_at_once(service) -> None:
    server, runtime = service
    results = list(runtime.map(server.get_double, range(200), concurrency=64))
    assert results == [2 * n for n in range(200)]


def test_a_body_of_a_megabyte_comes_back(service) -> None:
    server, runtime = service
    body = bytes(range(256)) * 4096
    assert runtime.options(deadline=30).call(server.post, body) == body


def test_a_handler_awaits_rust(service) -> None:
    server, runtime = service
    status, text = runtime.options(deadline=30).call(server.get, "/rust")
    assert status == 200
    assert text.startswith("ba7816bf8f01cfea")


def test_an_error_page_is_a_result_and_the_server_goes_on(service) -> None:
    server, runtime = service
    assert runtime.options(deadline=30).call(server.get, "/broken") == (409, "not now")
    assert runtime.options(deadline=30).call(server.get_double, 21) == 42


def test_a_clients_own_timeout_is_a_timeout_error(service) -> None:
    server, runtime = service

    async def impatient() -> None:
        await server.get("/never", timeout=ClientTimeout(total=0.05))

    with pytest.raises(TimeoutError) as caught:
        runtime.options(deadline=30).call(impatient)
    assert not isinstance(caught.value, gilscope.DeadlineExceeded)
    runtime.options(deadline=30).call(server.cancelled.wait)


def test_a_deadline_cancels_the_request_on_both_sides(service) -> None:
    server, runtime = service
    with pytest.raises(gilscope.DeadlineExceeded):
        runtime.options(deadline=0.05).call(server.get, "/never")
    assert runtime.options(deadline=30).call(server.cancelled.wait) is True


def test_a_response_is_read_as_a_stream(service) -> None:
    server, runtime = service

    async def read() -> list[bytes]:
        return [line async for line in runtime.stream(server.lines)]

    assert asyncio.run(asyncio.wait_for(read(), 30)) == [b"%d\n" % n for n in range(50)]


def test_a_websocket_talks(service) -> None:
    server, runtime = service
    assert runtime.options(deadline=30).call(server.talk, "abc", "", "é") == ["cba", "", "é"]


def test_a_client_on_another_loop_reaches_the_server(service) -> None:
    server, runtime = service
    runtime.options(deadline=30).call(server.get_double, 0)  # the start hook has run

    async def elsewhere() -> str:
        async with ClientSession(server.url) as client, client.get("/double/4") as response:
            return await response.text()

    assert asyncio.run(asyncio.wait_for(elsewhere(), 30)) == "8"
