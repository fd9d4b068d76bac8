//! Trace context on the Rust side.
//!
//! Invariant: what is called here is called through this library's own runtime, façade or not.

use gilscope_runtime::{InTrace, PyFun, PyHandle, TraceContext, into_py_future, py_runtime};
use opentelemetry::trace::{SpanContext, TraceContextExt};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::own::{result, tokio, wait};

fn read(traceparent: &str, tracestate: Option<&str>) -> PyResult<TraceContext> {
    TraceContext::from_headers(traceparent, tracestate)
        .ok_or_else(|| PyValueError::new_err("not a traceparent"))
}

/// An awaitable that calls `fun` itself, on no task of its own.
#[pyfunction]
#[pyo3(signature = (fun, *args))]
pub(crate) fn calls_below<'py>(
    fun: &Bound<'py, PyAny>,
    args: Py<PyTuple>,
) -> PyResult<Bound<'py, PyAny>> {
    let (runtime, py, fun) = (py_runtime()?, fun.py(), PyFun::new(fun));
    into_py_future(py, async move {
        tokio::task::yield_now().await;
        runtime.call_async::<PyHandle>(fun, args).await
    })
}

/// The traceparent and tracestate that are current inside a Rust future after its first poll: ours, and
/// those of the `opentelemetry` crate.
#[pyfunction]
pub(crate) fn current_in_rust(py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
    into_py_future(py, async move {
        tokio::task::yield_now().await;
        let text = |context: TraceContext| {
            let state = context.state.clone();
            (context.traceparent(), state.map(|state| state.to_string()))
        };
        let theirs = opentelemetry::Context::map_current(|context| {
            TraceContext::try_from(context.span().span_context()).ok()
        });
        PyResult::Ok((TraceContext::current().map(text), theirs.map(text)))
    })
}

/// Calls `fun` from a tokio task, below a span of another process: given to the call, or else current
/// around the future that makes it, or else in the `opentelemetry` crate.
#[pyfunction]
#[pyo3(signature = (how, traceparent, tracestate, fun, *args))]
pub(crate) fn call_below(
    how: &str,
    traceparent: &str,
    tracestate: Option<&str>,
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
) -> PyResult<Py<PyAny>> {
    let (parent, py) = (read(traceparent, tracestate)?, fun.py());
    let (runtime, fun) = (py_runtime()?, PyFun::new(fun));
    let outcome = match how {
        "given" => {
            let call = runtime.call(fun, args).parent(parent);
            wait(py, call.wait::<PyHandle>())
        }
        "entered" => {
            let call = async move { runtime.call_async::<PyHandle>(fun, args).await };
            wait(py, call.in_trace(parent))
        }
        _ => {
            let context =
                opentelemetry::Context::new().with_remote_span_context(SpanContext::from(&parent));
            py.detach(|| {
                let _entered = context.attach();
                let call = runtime.call_async::<PyHandle>(fun, args);
                Ok(tokio().block_on(call))
            })
        }
    };
    result(py, outcome?)
}
