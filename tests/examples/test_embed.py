"""`examples/embed`: builds it for the running Python, runs it, and reads what it prints."""

from __future__ import annotations

from typing import Any

# In the order of the program; what several threads print may come in any.
EXPECTED = [
    "awaited: hello await",
    "not async: 42",
    "built: hello kwargs and hello kwargs",
    "price: 15",
    "price: LookupError: no price for stone",
    "oneshot: hello oneshot",
    "channel: call Some(0) gave 2",
    "channel: call Some(1) gave 4",
    "channel: call Some(2) gave 6",
    'closure: Ok("hello closure")',
    "try_call: cancelled: true, Err(Cancelled { by: Caller, cause: None })",
    "process_coroutines: [6, 8]",
    "python callback: hello callback",
    "blocking: hello thread",
    "blocking on tokio: a blocking call from inside a tokio runtime would deadlock; "
    "use call_async there",
    "stream: [Ok(3), Ok(2), Ok(1)]",
    'stream: Some(Err("ValueError: it has to start at 0 or above"))',
    "deadline: app.forever did not end within 0.05 s (it was suspended)",
    "python: the deadline's call was cleaned up",
    "dropped: deadline has elapsed",
    "python: the dropped future's call was cleaned up",
    "shutdown: joined: true, abandoned: 0",
    "after it: the runtime is stopped: it was shut down",
]


def test_embed_prints_what_arrives(embedded: Any) -> None:
    done = embedded.run("gilscope-embed")
    assert done.stderr == ""
    assert done.returncode == 0
    assert sorted(done.stdout.splitlines()) == sorted(EXPECTED)
    # What one task awaits comes in order.
    own = [line for line in done.stdout.splitlines() if not line.startswith("python")]
    assert own == [line for line in EXPECTED if not line.startswith("python")]
