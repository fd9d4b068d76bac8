"""The handlers of the example: plain asyncio code that knows nothing of the server around it.

Each takes what was in the path and returns the text of the answer.
"""

import asyncio

import httpx
from opentelemetry import propagate, trace

client: httpx.AsyncClient
upstream: str


async def start(url: str) -> None:
    """Make what handlers share, on the loop that they run on. Requests of ours go to `url`."""
    global client, upstream
    client, upstream = httpx.AsyncClient(timeout=5), url


async def stop() -> None:
    """Await before the loop ends."""
    await client.aclose()


async def hello(name: str) -> str:
    """Greet."""
    trace.get_current_span().set_attribute("app.name", name)  # the span of this call
    await asyncio.sleep(0.01)
    if not name.isalpha():
        raise ValueError(f"{name!r} is no name")
    return f"hello {name}"


async def relay(name: str) -> str:
    """Have another service greet; it finds this call in the headers of the request."""
    headers: dict[str, str] = {}
    propagate.inject(headers)
    try:
        answer = await client.get(f"{upstream}/hello/{name}", headers=headers)
    except httpx.TransportError as error:  # the server makes a 503 of it
        raise ConnectionError(f"{upstream} cannot be asked: {error}") from error
    return f"upstream says: {answer.raise_for_status().text}"


async def sleepy(name: str) -> str:
    """Take longer than anybody waits: the deadline, or the client that goes away, cancels it."""
    print(f"python: {name} sleeps", flush=True)
    try:
        await asyncio.sleep(3600)
    finally:
        print(f"python: {name} was cancelled", flush=True)
    return name
