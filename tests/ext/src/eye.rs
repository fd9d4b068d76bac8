//! Closures and hand-made wakers that note whether they run with the GIL, and misbehave if asked to.
//!
//! Invariant: a future in here is polled by nobody but `Watched.poll`, on the thread that asks.

use std::pin::Pin;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use gilscope_runtime::{CallFuture, CallHandle, Error, Full, Outcome, PyAsyncCallback, PyHandle};
use pyo3::exceptions::{PyTimeoutError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyTuple;

use crate::calls::{Bad, Shown, show};
use crate::own::{LIMIT, exception};
use crate::runtime::{Runtime, given};

/// Whether the calling thread has the GIL.
pub(crate) fn attached() -> bool {
    // SAFETY: allowed on any thread at any time.
    unsafe { pyo3::ffi::PyGILState_Check() != 0 }
}

/// What an eye does once it has looked.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Return,
    Panic,
    /// Waits until it is told to go on.
    Hold,
}

/// Looks around each time it is woken or called.
struct Eye {
    then: Then,
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    attached: Vec<bool>,
    outcomes: Vec<Outcome<PyHandle>>,
    released: bool,
}

impl Eye {
    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, outcome: Option<Outcome<PyHandle>>) {
        let mut seen = self.lock();
        seen.attached.push(attached());
        seen.outcomes.extend(outcome);
        self.changed.notify_all();
        match self.then {
            Then::Return => {}
            Then::Panic => {
                drop(seen);
                panic!("an eye's panic");
            }
            Then::Hold => drop(self.until(seen, |seen| seen.released)),
        }
    }

    /// Waits, at most 20 s, until it is so.
    fn until<'a>(
        &self,
        mut seen: MutexGuard<'a, Seen>,
        so: impl Fn(&Seen) -> bool,
    ) -> MutexGuard<'a, Seen> {
        let end = Instant::now() + LIMIT;
        while !so(&seen) && Instant::now() < end {
            let wait = self.changed.wait_timeout(seen, Duration::from_millis(500));
            seen = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
        seen
    }
}

impl Wake for Eye {
    fn wake(self: Arc<Self>) {
        self.look(None);
    }
}

/// A call whose closure, or waker, is watched.
#[pyclass(frozen)]
pub(crate) struct Watched {
    eye: Arc<Eye>,
    handle: Option<CallHandle>,
    refused: Option<Error>,
    future: Mutex<Option<CallFuture<PyHandle>>>,
}

impl Watched {
    fn future(&self) -> MutexGuard<'_, Option<CallFuture<PyHandle>>> {
        self.future.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Watched {
    /// For each time it was woken or called: whether that was with the GIL.
    #[getter]
    fn attached(&self) -> Vec<bool> {
        self.eye.lock().attached.clone()
    }

    /// What the closure was called with.
    #[getter]
    fn outcomes(&self, py: Python<'_>) -> Vec<Shown> {
        let outcomes = self.eye.lock().outcomes.clone();
        outcomes.into_iter().map(|it| show(py, it)).collect()
    }

    /// What the closure's call was refused with, or None.
    #[getter]
    fn refused(&self, py: Python<'_>) -> Option<Py<PyAny>> {
        self.refused.clone().map(|error| exception(py, error))
    }

    /// Polls the future, with the GIL: the outcome, or None.
    fn poll(&self, py: Python<'_>) -> Option<Shown> {
        let waker = Waker::from(Arc::clone(&self.eye));
        let mut future = self.future();
        let polled =
            Pin::new(future.as_mut().expect("a future")).poll(&mut Context::from_waker(&waker));
        match polled {
            Poll::Pending => None,
            Poll::Ready(outcome) => Some(show(py, outcome)),
        }
    }

    /// Waits until it was woken or called; whether that was with the GIL, each time.
    fn wait(&self, py: Python<'_>) -> PyResult<Vec<bool>> {
        let seen = py.detach(|| {
            let seen = self
                .eye
                .until(self.eye.lock(), |seen| !seen.attached.is_empty());
            seen.attached.clone()
        });
        if seen.is_empty() {
            return Err(PyTimeoutError::new_err("never woken"));
        }
        Ok(seen)
    }

    fn cancel(&self) -> bool {
        self.handle.as_ref().is_some_and(CallHandle::cancel)
    }

    /// Lets go of the future, with the GIL.
    fn drop(&self) {
        let future = self.future().take();
        drop(future);
    }

    /// Lets a closure or waker that holds go on.
    fn release(&self) {
        self.eye.lock().released = true;
        self.eye.changed.notify_all();
    }
}

/// Makes a call with the GIL held: "closure" or "future", which is polled once.
#[pyfunction]
#[pyo3(signature = (kind, fun, *args, runtime=None, full="wait", deadline=None, then="return", bad_argument=false))]
#[expect(
    clippy::too_many_arguments,
    reason = "keyword arguments of a Python function"
)]
pub(crate) fn watched(
    kind: &str,
    fun: &Bound<'_, PyAny>,
    args: Py<PyTuple>,
    runtime: Option<&Bound<'_, Runtime>>,
    full: &str,
    deadline: Option<f64>,
    then: &str,
    bad_argument: bool,
) -> PyResult<(Watched, Option<Shown>)> {
    let then = match then {
        "return" => Then::Return,
        "panic" => Then::Panic,
        "hold" => Then::Hold,
        _ => return Err(PyValueError::new_err("then")),
    };
    let eye = Arc::new(Eye {
        then,
        seen: Mutex::default(),
        changed: Condvar::new(),
    });
    let mut call = given(runtime)?.call(fun, args);
    if bad_argument {
        call = call.kwargs([("bad", Bad("error"))]);
    }
    if full == "fail" {
        call = call.when_full(Full::Fail);
    }
    if let Some(deadline) = deadline {
        call = call.deadline(Duration::from_secs_f64(deadline));
    }
    let mut watched = Watched {
        eye: Arc::clone(&eye),
        handle: None,
        refused: None,
        future: Mutex::default(),
    };
    if kind == "future" {
        let future = call.wait::<PyHandle>();
        watched.handle = Some(future.handle());
        *watched.future() = Some(future);
        let polled = watched.poll(fun.py());
        return Ok((watched, polled));
    }
    let look = move |outcome| eye.look(Some(outcome));
    match call.try_send(PyAsyncCallback::<PyHandle>::Closure(Box::new(look))) {
        Ok(handle) => watched.handle = Some(handle),
        Err(error) => watched.refused = Some(error),
    }
    Ok((watched, None))
}
