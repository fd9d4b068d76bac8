//! Python's `opentelemetry`, if somebody imported it: which span is current, and making one so.
//!
//! Invariant: what it raises is nobody's error but a missing parent; nothing is ever detached from a
//! Context, which ends with its call.

use gilscope_instrument::TraceContext;
use pyo3::exceptions::PyRuntimeError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyDict;

use super::call_span::CallSpan;
use crate::python::imports::once;
use crate::python::names::name;

/// What is used of it.
pub(super) struct Otel {
    /// The context variable its current Context is in; `None` where `OTEL_PYTHON_CONTEXT` replaced it.
    variable: Option<Py<PyAny>>,
    /// The key of the current span in that Context.
    key: Py<PyAny>,
    /// The class of its Context, a dict.
    context: Py<PyAny>,
    attach: Py<PyAny>,
    current: Py<PyAny>,
    with_span: Py<PyAny>,
    pub(super) span_context: Py<PyAny>,
    pub(super) flags: Py<PyAny>,
    pub(super) state: Py<PyAny>,
}

impl Otel {
    fn load(py: Python<'_>, trace: &Bound<'_, PyAny>) -> PyResult<Otel> {
        let context = py.import("opentelemetry.context")?;
        let runtime = context.getattr("_RUNTIME_CONTEXT")?;
        let usual = runtime.get_type().name()? == "ContextVarsRuntimeContext";
        let variable = runtime.getattr("_current_context");
        let key = py
            .import("opentelemetry.trace.propagation")?
            .getattr("_SPAN_KEY")?;
        // `get_current_span` believes in what is a Span by class only.
        let register = trace.getattr("Span")?.getattr("register")?;
        register.call1((py.get_type::<CallSpan>(),))?;
        Ok(Otel {
            variable: variable.ok().filter(|_| usual).map(Bound::unbind),
            key: key.unbind(),
            context: context.getattr("Context")?.unbind(),
            attach: context.getattr("attach")?.unbind(),
            current: trace.getattr("get_current_span")?.unbind(),
            with_span: trace.getattr("set_span_in_context")?.unbind(),
            span_context: trace.getattr("SpanContext")?.unbind(),
            flags: trace.getattr("TraceFlags")?.unbind(),
            state: trace.getattr("TraceState")?.unbind(),
        })
    }
}

/// `None` until somebody has imported it, to its end.
pub(super) fn loaded(py: Python<'_>) -> Option<&'static Otel> {
    static OTEL: PyOnceLock<Otel> = PyOnceLock::new();
    if let Some(otel) = OTEL.get(py) {
        return Some(otel);
    }
    // SAFETY: attached; borrowed, and kept alive by the interpreter.
    let modules = unsafe { Bound::from_borrowed_ptr_or_opt(py, ffi::PyImport_GetModuleDict())? };
    let modules = modules.cast_into::<PyDict>().ok()?;
    let trace = modules.get_item(name!(py, c"opentelemetry.trace")).ok()??;
    if trace
        .getattr("__spec__")
        .ok()?
        .getattr("_initializing")
        .is_ok_and(|it| it.is_truthy().unwrap_or(true))
    {
        return None;
    }
    once(py, &OTEL, || Otel::load(py, &trace)).ok()
}

/// Whether there is anybody to tell.
pub(super) fn is_loaded(py: Python<'_>) -> bool {
    loaded(py).is_some()
}

/// The span that is current in this thread's Context.
pub(super) fn current(py: Python<'_>) -> Option<TraceContext> {
    of_span(&current_span(py)?)
}

/// Whether what is current in this thread's Context is what a stream's calls left there: their own span, or
/// none, and not one that user code has put there.
pub(super) fn is_left_by_stream(py: Python<'_>, opened_by: u64) -> bool {
    let Some(span) = current_span(py) else {
        return true;
    };
    let ours = span.cast::<CallSpan>();
    ours.is_ok_and(|ours| ours.get().is_of_stream(opened_by))
}

fn current_span(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    let otel = loaded(py)?;
    match &otel.variable {
        Some(variable) => {
            let mut found = std::ptr::null_mut();
            // SAFETY: a ContextVar; on success a new reference, or NULL where it has no value.
            let got = unsafe {
                ffi::PyContextVar_Get(variable.as_ptr(), std::ptr::null_mut(), &raw mut found)
            };
            if got < 0 {
                drop(PyErr::take(py));
                return None;
            }
            // SAFETY: as above.
            let context = unsafe { Bound::from_owned_ptr_or_opt(py, found)? };
            context
                .cast_into::<PyDict>()
                .ok()?
                .get_item(&otel.key)
                .ok()?
        }
        None => otel.current.bind(py).call0().ok(),
    }
}

/// The span that is current in a Context.
pub(super) fn of_context(context: &Bound<'_, PyAny>) -> Option<TraceContext> {
    let py = context.py();
    let otel = loaded(py)?;
    let span = match &otel.variable {
        Some(variable) => {
            let theirs = context.call_method1(name!(py, c"get"), (variable,)).ok()?;
            theirs
                .cast_into::<PyDict>()
                .ok()?
                .get_item(&otel.key)
                .ok()??
        }
        // Refused where somebody is in it, who then cannot be asked.
        None => context
            .call_method1(name!(py, c"run"), (&otel.current,))
            .ok()?,
    };
    of_span(&span)
}

fn of_span(span: &Bound<'_, PyAny>) -> Option<TraceContext> {
    if let Ok(ours) = span.cast::<CallSpan>() {
        return Some(ours.get().context().clone());
    }
    let context = span
        .call_method0(name!(span.py(), c"get_span_context"))
        .ok()?;
    of_span_context(&context).ok().flatten()
}

/// Reads a `SpanContext`; `None` if it is not valid.
pub(super) fn of_span_context(context: &Bound<'_, PyAny>) -> PyResult<Option<TraceContext>> {
    let py = context.py();
    let trace: u128 = context.getattr(name!(py, c"trace_id"))?.extract()?;
    let span: u64 = context.getattr(name!(py, c"span_id"))?.extract()?;
    if trace == 0 || span == 0 {
        return Ok(None);
    }
    let read = TraceContext {
        trace: [(trace >> 64) as u64, trace as u64],
        span,
        flags: context.getattr(name!(py, c"trace_flags"))?.extract()?,
        remote: context.getattr(name!(py, c"is_remote"))?.is_truthy()?,
        state: None,
    };
    let state = context.getattr(name!(py, c"trace_state"))?;
    if !state.is_truthy()? {
        return Ok(Some(read));
    }
    let header: String = state.call_method0("to_header")?.extract()?;
    Ok(Some(read.with_state(&header)))
}

/// Makes a span the current one in the Context that this thread is in.
pub(super) fn make_current(py: Python<'_>, span: &Py<CallSpan>) -> PyResult<()> {
    let Some(otel) = loaded(py) else {
        return Ok(());
    };
    let Some(variable) = &otel.variable else {
        let context = otel.with_span.bind(py).call1((span,))?;
        return otel.attach.bind(py).call1((context,)).map(drop);
    };
    // What else is in it, baggage say, stays.
    let mut found = std::ptr::null_mut();
    // SAFETY: a ContextVar; on success a new reference, or NULL where it has no value.
    let got =
        unsafe { ffi::PyContextVar_Get(variable.as_ptr(), std::ptr::null_mut(), &raw mut found) };
    if got < 0 {
        return Err(PyErr::fetch(py));
    }
    let all = PyDict::new(py);
    // SAFETY: as above.
    if let Some(before) = unsafe { Bound::from_owned_ptr_or_opt(py, found) } {
        all.update(before.cast::<PyDict>()?.as_mapping())?;
    }
    all.set_item(&otel.key, span)?;
    let context = otel.context.bind(py).call1((all,))?;
    // SAFETY: a ContextVar and a live object; a new reference, or NULL with an error set.
    let token = unsafe { ffi::PyContextVar_Set(variable.as_ptr(), context.as_ptr()) };
    // SAFETY: as above. The token is of no use: the Context is the call's own and ends with it.
    unsafe { Bound::from_owned_ptr_or_err(py, token) }.map(drop)
}

/// OpenTelemetry's `SpanContext` of ours.
pub(super) fn span_context<'py>(
    py: Python<'py>,
    context: &TraceContext,
) -> PyResult<Bound<'py, PyAny>> {
    let none = || PyRuntimeError::new_err("opentelemetry is not imported");
    let otel = loaded(py).ok_or_else(none)?;
    let state = match &context.state {
        Some(state) => {
            let header = vec![state.to_string()];
            otel.state.bind(py).call_method1("from_header", (header,))?
        }
        None => otel.state.bind(py).call0()?,
    };
    let [high, low] = context.trace;
    otel.span_context.bind(py).call1((
        u128::from(high) << 64 | u128::from(low),
        context.span,
        context.remote,
        otel.flags.bind(py).call1((context.flags,))?,
        state,
    ))
}
