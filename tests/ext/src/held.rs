//! What tokio tasks do with handles, futures and errors while another thread holds the GIL.
//!
//! Invariant: each task does one thing only, so that a thing that waited for the GIL shows as the
//! one whose rounds are missing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use gilscope_runtime::{Error, PyFun, PyHandle, PyRuntime, py_runtime};
use pyo3::prelude::*;

use crate::own::{tokio, wait};

/// How often each has been done.
type Rounds = Vec<(&'static str, Arc<AtomicU64>)>;

/// Does one thing every 5 ms until the tasks of the test are aborted.
fn repeat(rounds: &mut Rounds, name: &'static str, mut work: impl FnMut() + Send + 'static) {
    let count = Arc::new(AtomicU64::new(0));
    rounds.push((name, Arc::clone(&count)));
    tokio().spawn(async move {
        // The test looks at the counts and lets go of its half: that ends the task.
        while Arc::strong_count(&count) > 1 {
            work();
            count.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
}

/// A call's future, polled once: the call is submitted and pending.
fn pending(runtime: &PyRuntime, fun: &PyFun) -> gilscope_runtime::CallFuture<PyHandle> {
    let mut future = runtime.call_async::<PyHandle>(fun, ());
    let polled = std::pin::Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(polled, Poll::Pending), "nobody can run it yet");
    future
}

fn everything(rounds: &mut Rounds, runtime: PyRuntime, fun: PyFun, held: PyHandle, error: Error) {
    let mine = fun.clone();
    repeat(rounds, "PyFun", move || drop(mine.clone()));
    let mine = held.clone();
    repeat(rounds, "PyHandle", move || drop(mine.clone()));
    let mut last = Some(held);
    repeat(rounds, "last PyHandle", move || drop(last.take()));
    let (of, mine) = (runtime.clone(), fun.clone());
    repeat(rounds, "pending future", move || drop(pending(&of, &mine)));
    repeat(rounds, "cancel", move || {
        let future = pending(&runtime, &fun);
        assert!(future.handle().cancel(), "it cannot have ended");
    });
    let mine = error.clone();
    repeat(rounds, "Display", move || {
        assert!(mine.to_string().contains("told without the GIL"));
    });
    let mine = error.clone();
    repeat(rounds, "Debug", move || {
        assert!(format!("{mine:?}").contains("told without the GIL"));
    });
    repeat(rounds, "Error", move || drop(error.clone()));
}

/// Holds the GIL for `seconds` while tasks of this library's tokio, each every 5 ms, do what must
/// not need it; returns what was done and how often meanwhile. `fails()` raises "told without the
/// GIL"; `fun` is what the futures and the cancels call.
#[pyfunction]
pub(crate) fn rounds_while_gil_held(
    fun: &Bound<'_, PyAny>,
    fails: &Bound<'_, PyAny>,
    seconds: f64,
) -> PyResult<Vec<(&'static str, u64)>> {
    let (runtime, py, fun) = (py_runtime()?, fun.py(), PyFun::new(fun));
    let failed = wait(py, runtime.call_async::<PyHandle>(fails, ()))?;
    let error = failed.expect_err("it fails");
    let object = PyHandle::new(pyo3::types::PyList::empty(py).into_any().unbind());
    let mut rounds = Rounds::new();
    everything(&mut rounds, runtime, fun, object, error);
    repeat(&mut rounds, "nothing", || ());
    std::thread::sleep(Duration::from_secs_f64(seconds));
    let read = |(name, count): &(_, Arc<AtomicU64>)| (*name, count.load(Ordering::Relaxed));
    Ok(rounds.iter().map(read).collect())
}

/// Holds the GIL for `seconds`, asleep in the system, as native code does that never lets go of it.
/// Returns its own stamps, `time.monotonic_ns` before and after.
#[pyfunction]
pub(crate) fn hold_gil(seconds: f64) -> (u64, u64) {
    let before = monotonic_ns();
    std::thread::sleep(Duration::from_secs_f64(seconds)); // goes on after signals
    (before, monotonic_ns())
}

/// The same on a processor, without a single system call.
#[pyfunction]
pub(crate) fn spin_with_gil(seconds: f64) -> (u64, u64) {
    let before = monotonic_ns();
    let end = before + (seconds * 1e9) as u64;
    let mut now = before;
    while now < end {
        now = monotonic_ns();
    }
    (before, now)
}

fn monotonic_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is live.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Submits `fun()` to the default runtime and does not let go of the GIL: its loop has to wait for it.
#[pyfunction]
pub(crate) fn submit_with_gil(fun: &Bound<'_, PyAny>) -> PyResult<()> {
    let submitted = py_runtime()?.try_call::<PyHandle>(
        &PyFun::new(fun),
        (),
        gilscope_runtime::PyAsyncCallback::Discard,
    );
    submitted.map(drop).map_err(PyErr::from)
}
