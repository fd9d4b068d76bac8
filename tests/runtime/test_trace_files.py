"""Trace files that cannot be written to their end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("limit", [100_000, 300_000])
def test_o6_what_a_full_disk_keeps_out_of_a_trace_is_counted(
    script: Callable[..., str], limit: int
) -> None:
    code = f"""
        import resource, signal, gilscope

        async def nothing():
            pass

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        with gilscope.trace() as everything, gilscope.PyRuntime() as rt:
            try:
                with gilscope.trace("trace.jsonl"):
                    for future in [rt.submit(nothing) for _ in range(2000)]:
                        future.result()
                    rt.shutdown("drain")
            except OSError:
                print("told")
            spans = len(everything.spans)
        data = open("trace.jsonl", "rb").read()
        dropped = gilscope.stats()["dropped"]["sink"]
        lost = spans - data.count(b"\\n") - dropped
        print(data[-1:], 0 < dropped, abs(lost) < 9)  # a last turn of the loop is no call
    """
    assert script(code) == "told\nb'\\n' True True\n"
