//! Trace context across the border: what a call is below, and what is below a call.
//!
//! Invariant: nothing is imported for it; where Python's `opentelemetry` was not imported by somebody
//! else, there is nobody in Python to tell.

pub(crate) mod call_span;
pub(crate) mod carried;
mod otel;
mod values;

use gilscope_instrument::{CallStamps, TraceContext, exporting};
use pyo3::prelude::*;

use crate::attached::is_attached;
use crate::host::table::{self as t, RawJob};
use call_span::CallSpan;

/// What a call, or a future, that begins here is below: what Rust code of this thread entered; else, if
/// it is attached, what is current in Python; else the call that is being polled on it.
pub(crate) fn here() -> Option<TraceContext> {
    if let Some(context) = TraceContext::current() {
        return Some(context);
    }
    // Only a thread of Python's can be inside a poll.
    if !is_attached() {
        return None;
    }
    Python::attach(|py| otel::current(py).or_else(polled))
}

/// The span of the call that is being polled on this thread by a runtime of this library.
pub(crate) fn polled_here() -> Option<TraceContext> {
    let state = crate::loop_thread::state::current()?;
    let context = state.recorder.context()?;
    Some(TraceContext {
        state: state.tracestates.get(state.recorder.polling()),
        ..context
    })
}

/// As [`polled_here`], or by the library whose runtime this one shares.
fn polled() -> Option<TraceContext> {
    polled_here().or_else(|| crate::host::cell::current_host()?.polled())
}

/// What is current in a Python Context.
pub(crate) fn of_context(context: &Bound<'_, PyAny>) -> Option<TraceContext> {
    otel::of_context(context)
}

/// What is current in this thread's Python code.
pub(crate) fn current(py: Python<'_>) -> Option<TraceContext> {
    otel::current(py).or_else(here)
}

/// The span of a call, or where nothing is recorded its caller's.
pub(crate) fn of_call(raw: &RawJob) -> Option<TraceContext> {
    let context = raw.stamps.context()?;
    Some(match raw.tracestate() {
        Some(state) => context.with_state(state),
        None => context,
    })
}

/// The span of a call's caller.
pub(crate) fn callers(raw: &RawJob) -> Option<TraceContext> {
    let stamps = CallStamps {
        id: 0,
        ..raw.stamps
    };
    let state = of_call(raw)?.state;
    Some(TraceContext {
        state,
        ..stamps.context()?
    })
}

/// Makes the span of a call that has ended the current one for Python code, in a Context that was entered
/// on its behalf, unless it is: the call may not even have begun. As [`enter`], while spans are exported.
pub(crate) fn enter_late(py: Python<'_>, context: TraceContext) {
    let is = |current: TraceContext| current.span == context.span;
    if !exporting() || !otel::is_loaded(py) || otel::current(py).is_some_and(is) {
        return;
    }
    make_current(py, CallSpan::new(context, false));
}

/// A call is worth more than its place in a trace.
fn make_current(py: Python<'_>, span: CallSpan) -> Option<Py<CallSpan>> {
    let span = Py::new(py, span);
    let span = span.and_then(|span| otel::make_current(py, &span).map(|()| span));
    span.map_err(|error| error.write_unraisable(py, None)).ok()
}

/// While nothing is exported, what the caller of a stream was in is current in the Context of its calls, too.
pub(crate) fn enter_callers(py: Python<'_>, caller: Option<TraceContext>) {
    let Some(caller) = caller.filter(|_| !exporting() && otel::is_loaded(py)) else {
        return;
    };
    make_current(py, CallSpan::new(caller, false));
}

/// Whether [`enter`] has something to do. A few loads.
#[inline]
pub(crate) fn concerns(raw: &RawJob) -> bool {
    exporting() || raw.stamps.parent != 0 && raw.context.is_null()
}

/// Makes the call's span the current one for Python code, in the Context that was just entered for the
/// call. While nothing is exported nobody would ever see that span: then it is the caller's, which a
/// Python caller's Context has already. A Context that is somebody else's, too, is left as it is, and that
/// of a stream where user code has put a span of its own there.
#[cold]
pub(crate) fn enter(py: Python<'_>, raw: &RawJob) -> Option<Py<CallSpan>> {
    let of_stream = raw.flags & t::JOB_OF_STREAM != 0;
    if raw.flags & t::JOB_SHARES_CONTEXT != 0 && !of_stream || !otel::is_loaded(py) {
        return None;
    }
    let stamps = &raw.stamps;
    let exported = exporting() && stamps.id != 0;
    if of_stream && !(exported && otel::is_left_by_stream(py, stamps.parent)) {
        return None;
    }
    let context = if exported {
        of_call(raw)?
    } else {
        callers(raw)?
    };
    let span = if of_stream {
        CallSpan::of_stream(context, stamps.parent)
    } else {
        CallSpan::new(context, exported)
    };
    make_current(py, span)
}
