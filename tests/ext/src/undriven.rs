//! Callers inside a tokio that nobody drives any more.
//!
//! Invariant: the tokio is of the `current_thread` flavour, and this file drives it only while a
//! function below runs; it lives on as long as the object that was returned.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use gilscope_runtime::{Outcome, PyAsyncCallback, PyFun, PyHandle};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tokio::runtime::{Builder, Runtime as Tokio};
use tokio::sync::oneshot;

use crate::runtime::{Runtime, given};
use crate::sent::{Inbox, Mouth};

fn current_thread() -> Tokio {
    let mut builder = Builder::new_current_thread();
    builder.enable_all().build().expect("a tokio")
}

/// A call that was made in a tokio which then stopped.
#[pyclass(frozen)]
pub(crate) struct Undriven {
    inbox: Arc<Inbox>,
    receiver: Mutex<Option<oneshot::Receiver<Outcome<PyHandle>>>>,
    /// Let go of without waiting for what is in it.
    tokio: Mutex<Option<Tokio>>,
}

#[pymethods]
impl Undriven {
    /// How many outcomes have arrived.
    #[getter]
    fn arrived(&self) -> usize {
        self.inbox.count()
    }

    /// Drops the receiver of the oneshot.
    fn drop(&self) {
        let mut receiver = self.receiver.lock().unwrap_or_else(PoisonError::into_inner);
        drop(receiver.take());
    }

    /// Drives the tokio again, until a task that was ready has run.
    fn drive(&self, py: Python<'_>) {
        let tokio = self.tokio.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokio) = tokio.as_ref() {
            py.detach(|| tokio.block_on(turns()));
        }
    }
}

impl Drop for Undriven {
    fn drop(&mut self) {
        let mut tokio = self.tokio.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tokio) = tokio.take() {
            tokio.shutdown_background();
        }
    }
}

/// Lets the tasks that are ready run.
async fn turns() {
    for _ in 0..16 {
        tokio::task::yield_now().await;
    }
}

/// One call out of a tokio that is driven until the call is with the runtime, or waits for room, and
/// not after that. "closure" and "oneshot" are sent, "future" is awaited by a task of that tokio.
#[pyfunction]
#[pyo3(signature = (kind, fun, *args, runtime=None, deadline=None))]
pub(crate) fn undriven(
    kind: &str,
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    runtime: Option<&Bound<'_, Runtime>>,
    deadline: Option<f64>,
) -> PyResult<Undriven> {
    let inbox = Arc::new(Inbox::default());
    let mouth = Mouth::new(&inbox);
    let mut call = given(runtime)?.call(PyFun::new(fun), args);
    if let Some(deadline) = deadline {
        call = call.deadline(Duration::from_secs_f64(deadline));
    }
    let tokio = current_thread();
    let sent = fun.py().detach(|| {
        tokio.block_on(async move {
            let (callback, receiver) = match kind {
                "closure" => {
                    let work = Box::new(move |outcome| mouth.push(outcome));
                    (PyAsyncCallback::<PyHandle>::Closure(work), None)
                }
                "oneshot" => {
                    let (sender, receiver) = oneshot::channel();
                    (PyAsyncCallback::Oneshot(sender), Some(receiver))
                }
                "future" => {
                    let future = call.wait::<PyHandle>();
                    tokio::spawn(async move { mouth.push(future.await) });
                    turns().await;
                    return Ok(None);
                }
                _ => return Err(PyValueError::new_err("kind")),
            };
            call.send(callback).await?;
            Ok(receiver)
        })
    })?;
    Ok(Undriven {
        inbox,
        receiver: Mutex::new(sent),
        tokio: Mutex::new(Some(tokio)),
    })
}

/// Calls a Python function on this thread, which is inside a tokio that nobody drives meanwhile.
#[pyfunction]
pub(crate) fn inside_undriven<'py>(fun: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>> {
    let tokio = current_thread();
    let _entered = tokio.enter();
    fun.call0()
}
