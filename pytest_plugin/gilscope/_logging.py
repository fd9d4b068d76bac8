"""Log records that say which call they come from."""

from __future__ import annotations

import logging

from gilscope import _native


class TraceFilter(logging.Filter):
    """Puts `trace_id`, `span_id` and `trace_flags` on every log record that passes a handler.

    They are those of the span that is current where the record is made: OpenTelemetry's, if the
    process uses that, else the call's whose coroutine, or task made inside it, logs. Hexadecimal
    digits as in a `traceparent`; "0" outside of any.

        handler.addFilter(gilscope.TraceFilter())
        handler.setFormatter(logging.Formatter("%(trace_id)s %(message)s"))
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Let every record pass, with its ids."""
        trace, span, flags = _native.current_trace() or ("0", "0", 0)
        record.trace_id, record.span_id, record.trace_flags = trace, span, f"{flags:02x}"
        return True
