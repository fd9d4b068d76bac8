//! Callers that stand in the line for room, each polled once by a waker made by hand.
//!
//! Invariant: what is in line is only polled again when everything has been submitted.

use std::future::Future as _;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use gilscope_runtime::{CallFuture, PyFun, PyHandle};
use pyo3::prelude::*;

use crate::own::wait;
use crate::runtime::{Runtime, given};

type Calls = Vec<Pin<Box<CallFuture<PyHandle>>>>;

/// A waker that takes its time.
struct Slow;

impl Wake for Slow {
    fn wake(self: Arc<Self>) {
        std::thread::sleep(Duration::from_micros(20));
    }
}

/// A waker that runs Python code, as those of bridges to other loops do.
struct Bridge(Py<PyAny>);

impl Wake for Bridge {
    fn wake(self: Arc<Self>) {
        Python::attach(|py| {
            if let Err(error) = self.0.call0(py) {
                error.write_unraisable(py, None);
            }
        });
    }
}

fn submit(
    fun: &Bound<'_, PyAny>,
    n: usize,
    waker: Waker,
    runtime: gilscope_runtime::PyRuntime,
) -> PyResult<Calls> {
    let (py, fun) = (fun.py(), PyFun::new(fun));
    Ok(py.detach(move || {
        let mut context = Context::from_waker(&waker);
        let make = |i| {
            let mut call = Box::pin(runtime.call(&fun, (i,)).wait::<PyHandle>());
            let pending = call.as_mut().poll(&mut context).is_pending();
            pending.then_some(call)
        };
        (0..n).filter_map(make).collect()
    }))
}

/// `fun(i)` for i < n by one plain thread that does not wait between them; waits for all in the end.
#[pyfunction]
pub(crate) fn one_producer(
    fun: &Bound<'_, PyAny>,
    n: usize,
    runtime: &Bound<'_, Runtime>,
) -> PyResult<()> {
    let waker = Waker::from(Arc::new(Slow));
    for call in submit(fun, n, waker, given(Some(runtime))?)? {
        wait(fun.py(), call)??;
    }
    Ok(())
}

/// Calls in line, kept until it is dropped.
#[pyclass(frozen)]
pub(crate) struct InLine(#[expect(dead_code)] Mutex<Calls>);

/// `fun(i)` for i < n on the default runtime, polled once with a waker that calls `woken`.
#[pyfunction]
pub(crate) fn in_line(fun: &Bound<'_, PyAny>, n: usize, woken: Py<PyAny>) -> PyResult<InLine> {
    let waker = Waker::from(Arc::new(Bridge(woken)));
    Ok(InLine(Mutex::new(submit(fun, n, waker, given(None)?)?)))
}
