//! One call of each callback kind, and what arrived of it.
//!
//! Invariant: an inbox is told when its callback is dropped, so that a lost outcome is seen at once
//! and not by a timeout.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use gilscope_runtime::{
    CallHandle, Error, Full, OnDrop, Outcome, PyAsyncCallback, PyFun, PyHandle, py_runtime,
};
use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::own::{LIMIT, exception, tokio, wait};
use crate::runtime::{Runtime, given};

/// Where outcomes arrive.
#[derive(Default)]
pub(crate) struct Inbox {
    arrivals: Mutex<Arrivals>,
    changed: Condvar,
}

#[derive(Default)]
struct Arrivals {
    outcomes: Vec<Arrival>,
    closed: bool,
}

#[derive(Clone)]
enum Arrival {
    Outcome(Outcome<PyHandle>),
    /// What a Python callback got: a value, or an exception.
    Python(bool, PyHandle),
}

impl Arrival {
    fn show(self, py: Python<'_>) -> (&'static str, Py<PyAny>) {
        match self {
            Self::Outcome(Ok(value)) | Self::Python(true, value) => ("ok", value.clone_ref(py)),
            Self::Outcome(Err(error)) => ("err", exception(py, error)),
            Self::Python(false, error) => ("err", error.clone_ref(py)),
        }
    }
}

impl Inbox {
    fn lock(&self) -> MutexGuard<'_, Arrivals> {
        self.arrivals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many outcomes have arrived.
    pub(crate) fn count(&self) -> usize {
        self.lock().outcomes.len()
    }

    fn push(&self, arrival: Arrival) {
        self.lock().outcomes.push(arrival);
        self.changed.notify_all();
    }
}

/// Lives as long as the callback.
pub(crate) struct Mouth(Arc<Inbox>);

impl Mouth {
    pub(crate) fn new(inbox: &Arc<Inbox>) -> Self {
        Self(Arc::clone(inbox))
    }

    pub(crate) fn push(&self, outcome: Outcome<PyHandle>) {
        self.0.push(Arrival::Outcome(outcome));
    }
}

impl Drop for Mouth {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

/// A Python callback that puts what it gets into an inbox.
#[pyclass(frozen)]
pub(crate) struct Recorder(Mouth);

#[pymethods]
impl Recorder {
    fn __call__(&self, outcome: &Bound<'_, PyAny>) -> PyResult<()> {
        let error = outcome.call_method0("exception")?;
        let ok = error.is_none();
        let what = if ok {
            outcome.call_method0("result")?
        } else {
            error
        };
        self.0
            .0
            .push(Arrival::Python(ok, PyHandle::new(what.unbind())));
        Ok(())
    }
}

/// A call that was sent.
#[pyclass(frozen)]
pub(crate) struct Sent {
    inbox: Arc<Inbox>,
    handle: Option<CallHandle>,
    receiver: Mutex<Option<JoinHandle<()>>>,
    refused: Option<Error>,
    discards: bool,
}

impl Sent {
    /// Of a call that was given up before the queue took it.
    pub(crate) fn given_up(
        inbox: Arc<Inbox>,
        receiver: Option<JoinHandle<()>>,
        discards: bool,
    ) -> Self {
        Self {
            inbox,
            handle: None,
            receiver: Mutex::new(receiver),
            refused: None,
            discards,
        }
    }
}

#[pymethods]
impl Sent {
    /// Id of the call; None if it was refused.
    #[getter]
    fn id(&self) -> Option<u64> {
        self.handle.as_ref().map(|handle| handle.id().0)
    }

    /// What `send` failed with, or None.
    #[getter]
    fn refused(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.refused.clone().map(|error| exception(py, error))
    }

    /// What Rust's `Debug` prints of the handle.
    fn __repr__(&self) -> String {
        format!("{:?}", self.handle)
    }

    #[getter]
    fn is_done(&self) -> bool {
        self.handle.as_ref().is_none_or(CallHandle::is_done)
    }

    /// Whether the callback has been dropped, used or not.
    #[getter]
    fn closed(&self) -> bool {
        self.inbox.lock().closed
    }

    fn cancel(&self) -> bool {
        self.handle.as_ref().is_some_and(CallHandle::cancel)
    }

    /// Drops the future that awaits the call, or the receiver of its outcome; returns when it has.
    fn drop(&self, py: Python<'_>) -> PyResult<()> {
        let receiver = self
            .receiver
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(receiver) = receiver else {
            return Ok(());
        };
        receiver.abort();
        wait(py, async { drop(receiver.await) })
    }

    /// What has arrived: ("ok", value) or ("err", exception) each.
    #[getter]
    fn arrived(&self, py: Python<'_>) -> Vec<(&'static str, Py<PyAny>)> {
        // Cloned first: exceptions are made, so Python runs, without the lock.
        let arrivals = self.inbox.lock().outcomes.clone();
        arrivals
            .into_iter()
            .map(|arrival| arrival.show(py))
            .collect()
    }

    /// Waits until something arrived or nothing can any more; returns what has arrived.
    fn wait(&self, py: Python<'_>) -> PyResult<Vec<(&'static str, Py<PyAny>)>> {
        let end = Instant::now() + LIMIT;
        let ended = py.detach(|| {
            let mut arrivals = self.inbox.lock();
            while arrivals.outcomes.is_empty() && (self.discards || !arrivals.closed) {
                if Instant::now() >= end {
                    return false;
                }
                let slice = Duration::from_millis(if self.discards { 1 } else { 500 });
                arrivals = self
                    .inbox
                    .changed
                    .wait_timeout(arrivals, slice)
                    .unwrap_or_else(PoisonError::into_inner)
                    .0;
                if self.discards && self.is_done() {
                    return true;
                }
            }
            true
        });
        if ended {
            Ok(self.arrived(py))
        } else {
            Err(PyTimeoutError::new_err("nothing arrived"))
        }
    }
}

/// The callback of a kind, and the task that receives for it.
pub(crate) fn callback_of(
    py: Python<'_>,
    kind: &str,
    mouth: Mouth,
    python: Option<&Bound<'_, PyAny>>,
) -> PyResult<(PyAsyncCallback<PyHandle>, Option<JoinHandle<()>>)> {
    let callback = match kind {
        "oneshot" => {
            let (sender, receiver) = oneshot::channel();
            let receive = async move {
                if let Ok(outcome) = receiver.await {
                    mouth.push(outcome);
                }
            };
            return Ok((
                PyAsyncCallback::Oneshot(sender),
                Some(tokio().spawn(receive)),
            ));
        }
        "channel" => {
            let (sender, mut receiver) = mpsc::channel(8);
            let receive = async move {
                while let Some((_, outcome)) = receiver.recv().await {
                    mouth.push(outcome);
                }
            };
            return Ok((
                PyAsyncCallback::Channel(sender),
                Some(tokio().spawn(receive)),
            ));
        }
        "closure" => PyAsyncCallback::Closure(Box::new(move |outcome| mouth.push(outcome))),
        "closure_calls" => {
            let after = python.map(PyFun::new);
            PyAsyncCallback::Closure(Box::new(move |outcome| {
                if let (Some(after), Ok(runtime)) = (after, py_runtime()) {
                    let _ = runtime.try_call(after, (), PyAsyncCallback::<PyHandle>::Discard);
                }
                mouth.push(outcome);
            }))
        }
        "closure_panics" => PyAsyncCallback::Closure(Box::new(move |outcome| {
            mouth.push(outcome);
            panic!("a closure's panic");
        })),
        "python" => PyAsyncCallback::Python(match python {
            Some(callback) => PyFun::new(callback),
            None => PyFun::new(Bound::new(py, Recorder(mouth))?.as_any()),
        }),
        "discard" => PyAsyncCallback::Discard,
        other => return Err(PyValueError::new_err(format!("no callback kind {other:?}"))),
    };
    Ok((callback, None))
}

/// Submits one call, from a tokio task, with a callback of this kind. `full="fail"` does not wait.
#[pyfunction]
#[pyo3(signature = (kind, fun, *args, runtime=None, callback=None, full="wait", on_drop="cancel", deadline=None))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword arguments of a Python function"
)]
pub(crate) fn send(
    kind: &str,
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    runtime: Option<&Bound<'_, Runtime>>,
    callback: Option<&Bound<'_, PyAny>>,
    full: &str,
    on_drop: &str,
    deadline: Option<f64>,
) -> PyResult<Sent> {
    let py = fun.py();
    let inbox = Arc::new(Inbox::default());
    let mouth = Mouth(Arc::clone(&inbox));
    let mut call = given(runtime)?.call(PyFun::new(fun), args);
    if on_drop == "detach" {
        call = call.on_drop(OnDrop::Detach);
    }
    if full == "fail" {
        call = call.when_full(Full::Fail);
    }
    if let Some(deadline) = deadline {
        call = call.deadline(Duration::from_secs_f64(deadline));
    }
    let discards = kind == "discard";
    let (sent, receiver) = if kind == "future" {
        let future = call.wait::<PyHandle>();
        let handle = future.handle();
        let receive = async move { mouth.push(future.await) };
        (Ok(handle), Some(tokio().spawn(receive)))
    } else {
        let (callback, receiver) = callback_of(py, kind, mouth, callback)?;
        let sent = match full {
            "fail" => call.try_send(callback),
            _ => wait(py, call.send(callback))?,
        };
        (sent, receiver)
    };
    let (handle, refused) = match sent {
        Ok(handle) => (Some(handle), None),
        Err(error) => (None, Some(error)),
    };
    Ok(Sent {
        inbox,
        handle,
        receiver: Mutex::new(receiver),
        refused,
        discards,
    })
}
