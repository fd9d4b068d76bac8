"""`gilscope.instrument`: what is recorded, sent to where it is watched, or told to who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gilscope import _native
from gilscope._given import wrong

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class instrument:
    """Watch what this process does, export what it records, and tell `gilscope tree`.

    From now until `close()`, the end of the block it is used in, or the exit of the process. `otlp`
    is the collector's address, "http://localhost:4318" say, or True for what the standard variables
    say: `OTEL_EXPORTER_OTLP_ENDPOINT`, `_PROTOCOL` (`http/protobuf`, or `grpc`), `_HEADERS`,
    `_TIMEOUT`, `_COMPRESSION`, `_CERTIFICATE`, `_CLIENT_KEY`, `_CLIENT_CERTIFICATE` and their forms
    for traces and metrics; `OTEL_SERVICE_NAME`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_TRACES_SAMPLER`,
    `OTEL_BSP_...`, `OTEL_METRIC_EXPORT_...`, and `OTEL_SDK_DISABLED`.

    `close_within`: how many seconds `close()` may take to send what is left, a second unless said
    otherwise; at exit it is a second at most. It counts from the call of `close()`.

    `watchdog`: whether who holds the GIL, or a loop, while a call waits is to be seen, with its
    stack; a number is the seconds from when on, else it is 0.05, or what `GILSCOPE_SLOW` says. What
    is found is in `gilscope.stats()["findings"]`, and described in docs/findings.md.

    No call waits for a collector, and one that is not there is no error: what it does not take is
    counted, and said in one line on stderr. To export is the default, unless `tree` is all that is
    asked for. Raises `ValueError` for an address or a variable that cannot be used, with its name,
    and `TypeError` for an argument of a wrong type, with its name.

    `tree=True` has this process answer `gilscope tree PID`, on a Unix socket that only its own user
    can open; without this, the variable `GILSCOPE_TREE=1` does so from the first runtime on.
    Raises `OSError` if there is no folder for the socket that is this user's alone.
    """

    def __init__(
        self,
        *,
        otlp: bool | str | None = None,
        tree: bool = False,
        close_within: float | None = None,
        watchdog: bool | float = True,
    ) -> None:
        if otlp is None:
            otlp = not tree
        if not isinstance(otlp, bool | str):
            raise wrong(TypeError, "otlp", "an address, True, False or None", otlp)
        endpoint = otlp if isinstance(otlp, str) else None
        slow = None if isinstance(watchdog, bool) else watchdog
        self._watch = _native.Watch(slow) if watchdog is not False else None
        self._tree: _native.Tree | None = None
        self._export: _native.Export | None = None
        try:
            self._tree = _native.Tree() if tree else None
            self._export = _native.Export(endpoint, close_within) if otlp is not False else None
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Send what is left, within its time, and stop. A second time does nothing."""
        for part in (self._watch, self._tree, self._export):
            if part is not None:
                part.close()

    @property
    def active(self) -> bool:
        """Whether anything is exported: not closed, nor switched off by `OTEL_SDK_DISABLED`."""
        return self._export is not None and self._export.active

    @property
    def watches(self) -> bool:
        """Whether the watchdog runs: not closed, nor switched off by `GILSCOPE_WATCHDOG=0`."""
        return self._watch is not None and self._watch.active

    @property
    def exported(self) -> int:
        """Spans that a collector has taken so far."""
        return 0 if self._export is None else int(self._export.counts()["exported"])

    @property
    def lost(self) -> dict[str, int]:
        """Spans that were lost so far, by reason.

        `queue_full`: the collector is slower than the calls; `export_failed`: it was not there, or
        refused them, however often it was tried; `rejected`: it took the others of their request;
        `closed`: there was no time left for them.
        """
        counts = {} if self._export is None else self._export.counts()
        return {reason: int(counts[reason]) for reason in _REASONS if reason in counts}

    @property
    def failure(self) -> str | None:
        """What the request that was given up last failed with, if one was."""
        return None if self._export is None else self._export.counts()["failure"]


_REASONS = ("queue_full", "export_failed", "rejected", "closed")
