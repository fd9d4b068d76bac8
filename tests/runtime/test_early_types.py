"""pyo3 lets go of the GIL while it makes a type at its first use: a child then waits for ever."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def test_l6_every_type_that_calls_need_is_made_with_the_first_runtime(
    script: Callable[..., str],
) -> None:
    made_late = script("""
        import asyncio, gc
        import gilscope
        from gilscope.rust import sleep

        def native():
            known = object.__subclasses__()
            return {c.__name__ for c in known if c.__module__ == "gilscope._native"}

        async def child(x):
            await asyncio.sleep(0)
            if x == 2:
                raise ValueError(x)
            return x

        async def parent():
            both = await asyncio.gather(child(1), child(2), return_exceptions=True)
            await asyncio.wait_for(child(3), 5)
            await sleep(0.001)
            return len(both)

        async def numbers():
            for x in range(3):
                await asyncio.sleep(0)
                yield x

        with gilscope.trace():
            rt = gilscope.PyRuntime()
            rt.submit(child, 0).result(10)  # the loop's thread has begun
            early = native()
            assert rt.submit(parent).result(10) == 2
            assert rt.submit(child, 2).exception(10) is not None
            assert list(rt.map(child, [0, 1])) == [0, 1]
            rt.shutdown("cancel")
        print(*sorted(native() - early), len(early) > 8)
    """)
    # What is made on the caller's own thread, which a fork in it cannot leave behind half made.
    assert made_late.split() == ["True"]
