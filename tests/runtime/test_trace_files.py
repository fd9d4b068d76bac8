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
        import resource, signal, threading, time, gilscope

        async def nothing():
            pass

        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))
        with gilscope.trace() as everything:
            try:
                with gilscope.trace("trace.jsonl"):
                    rt = gilscope.PyRuntime()
                    for future in [rt.submit(nothing) for _ in range(2000)]:
                        future.result()
                    rt.shutdown("drain")
                    while threading.active_count() > 1:  # the loop's last turn ends as it does
                        time.sleep(0.001)
            except OSError:
                print("told")
            spans = len(everything.spans)
        data = open("trace.jsonl", "rb").read()
        dropped = gilscope.stats()["dropped"]["sink"]
        lost = spans - data.count(b'{{"span":') - dropped  # a busy machine has findings there, too
        print(data[-1:], 0 < dropped, lost)
    """
    assert script(code) == "told\nb'\\n' True 0\n"
