//! gilscope itself, through its public Rust API, in the same loops as its peers.
//!
//! Invariant: with tracing on, a timed loop ends only when every call of it has been joined and
//! handed to the sink, so that tracing cannot hide behind the clock.

use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use gilscope_instrument as instrument;
use gilscope_runtime::{Error, PyFun, PyRuntime, into_py_future, py_runtime};
use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use crate::drive::{WARM_UP, callers, drive};

fn callee(fun: &Bound<'_, PyAny>) -> PyFun {
    PyFun::new(fun)
}

/// How long a call that was delivered may take to be joined; longer counts as lost.
const PATIENCE: Duration = Duration::from_secs(1);

/// Counts the calls that tracing has to account for.
struct Joined(u64);

impl Joined {
    fn none_yet() -> Self {
        instrument::flush();
        Self(instrument::stats().calls)
    }

    /// Waits until `calls` more are joined and handed to the sink; at once if tracing is off.
    /// An outcome is there a moment before its call is closed, so one flush can be too early.
    fn wait(&mut self, calls: usize) {
        self.0 += calls as u64;
        let began = Instant::now();
        while instrument::enabled() && began.elapsed() < PATIENCE {
            instrument::flush();
            if instrument::stats().calls >= self.0 {
                return;
            }
            std::thread::yield_now();
        }
    }
}

/// Seconds that `n` calls of the coroutine function `fun(i)` take, `in_flight` of them at a time;
/// with tracing on, until all their records are joined.
#[pyfunction]
pub(crate) fn ours_calls(fun: &Bound<'_, PyAny>, n: usize, in_flight: usize) -> PyResult<f64> {
    let callee = callee(fun);
    fun.py().detach(|| {
        let runtime = py_runtime()?;
        let start = |i: usize| Ok::<_, Error>(runtime.call_async::<Py<PyAny>>(&callee, (i,)));
        let mut joined = Joined::none_yet();
        callers()?.block_on(drive(WARM_UP, in_flight, start))?;
        joined.wait(WARM_UP);
        let began = Instant::now();
        callers()?.block_on(drive(n, in_flight, start))?;
        joined.wait(n);
        Ok(began.elapsed().as_secs_f64())
    })
}

/// Seconds in which `fun(make, n, in_flight)`, a coroutine function, awaits `n` ready Rust
/// futures made by `make(i)`; with tracing on, until all records are joined.
#[pyfunction]
pub(crate) fn ours_await_rust(fun: &Bound<'_, PyAny>, n: usize, in_flight: usize) -> PyResult<f64> {
    let py = fun.py();
    let make = PyCFunction::new_closure(py, None, None, |args, _kwargs| {
        let i: usize = args.get_item(0)?.extract()?;
        into_py_future(args.py(), async move { Ok::<_, PyErr>(i) }).map(Bound::unbind)
    })?
    .unbind();
    let callee = callee(fun);
    py.detach(|| {
        let runtime = py_runtime()?;
        let one = |n: usize| {
            let make = Python::attach(|py| make.clone_ref(py));
            runtime.call_async::<Py<PyAny>>(&callee, (make, n, in_flight))
        };
        let mut joined = Joined::none_yet();
        callers()?.block_on(one(WARM_UP))?;
        joined.wait(1);
        let call = one(n);
        let began = Instant::now();
        callers()?.block_on(call)?;
        joined.wait(1);
        Ok(began.elapsed().as_secs_f64())
    })
}

/// As [`ours_calls`], with each outcome read: `(seconds, values, sum of values, errors)`.
#[pyfunction]
pub(crate) fn ours_checked(
    fun: &Bound<'_, PyAny>,
    n: usize,
    in_flight: usize,
) -> PyResult<(f64, usize, u64, usize)> {
    let callee = callee(fun);
    fun.py().detach(|| {
        let runtime = py_runtime()?;
        let mut joined = Joined::none_yet();
        let began = Instant::now();
        let got = callers()?.block_on(checked(&runtime, &callee, n, in_flight));
        joined.wait(n);
        Ok((
            began.elapsed().as_secs_f64(),
            got.values,
            got.sum,
            got.errors,
        ))
    })
}

#[derive(Default)]
struct Outcomes {
    values: usize,
    sum: u64,
    errors: usize,
}

async fn checked(runtime: &PyRuntime, callee: &PyFun, n: usize, in_flight: usize) -> Outcomes {
    let mut open = FuturesUnordered::new();
    let mut got = Outcomes::default();
    let mut started = 0;
    loop {
        while started < n && open.len() < in_flight {
            open.push(runtime.call_async::<u64>(callee, (started,)));
            started += 1;
        }
        match open.next().await {
            Some(Ok(value)) => {
                got.values += 1;
                got.sum += value;
            }
            Some(Err(_)) => got.errors += 1,
            None => return got,
        }
    }
}

/// Nanoseconds from call to outcome of each of `n` calls of `fun(i)`, `in_flight` at a time,
/// while one call of `slow()` is open beside them if it is given; it is dropped (and so
/// cancelled) at the end.
#[pyfunction]
#[pyo3(signature = (fun, n, in_flight, slow=None))]
pub(crate) fn ours_latency(
    fun: &Bound<'_, PyAny>,
    n: usize,
    in_flight: usize,
    slow: Option<&Bound<'_, PyAny>>,
) -> PyResult<Vec<u64>> {
    let (fun, slow, py) = (callee(fun), slow.map(callee), fun.py());
    py.detach(|| {
        let runtime = py_runtime()?;
        callers()?.block_on(async {
            let beside = slow.map(|slow| runtime.call_async::<Py<PyAny>>(&slow, ()));
            let beside = beside.map(tokio::spawn);
            let took = latencies(&runtime, &fun, n, in_flight).await;
            if let Some(beside) = beside {
                beside.abort();
                let _ = beside.await;
            }
            took
        })
    })
}

async fn latencies(
    runtime: &PyRuntime,
    fun: &PyFun,
    n: usize,
    in_flight: usize,
) -> PyResult<Vec<u64>> {
    let mut took = Vec::with_capacity(n);
    let mut open = FuturesUnordered::new();
    let mut started = 0;
    loop {
        while started < n && open.len() < in_flight {
            let began = Instant::now();
            let call = runtime.call_async::<Py<PyAny>>(fun, (started,));
            open.push(async move { call.await.map(|_| began.elapsed()) });
            started += 1;
        }
        match open.next().await {
            Some(lasted) => took.push(nanos(lasted?)),
            None => return Ok(took),
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// `n` open calls of one coroutine function, kept until [`Sleepers::release`].
#[pyclass]
pub(crate) struct Sleepers {
    held: Option<tokio::task::JoinHandle<()>>,
}

#[pymethods]
impl Sleepers {
    /// Starts `n` calls of the coroutine function `fun(i)`; does not wait for any of them.
    #[new]
    fn new(fun: &Bound<'_, PyAny>, n: usize) -> PyResult<Self> {
        let callee = callee(fun);
        let runtime = py_runtime()?;
        let held = callers()?.spawn(async move {
            let call = |i| runtime.call_async::<Py<PyAny>>(&callee, (i,));
            let mut open: FuturesUnordered<_> = (0..n).map(call).collect();
            while open.next().await.is_some() {}
        });
        Ok(Self { held: Some(held) })
    }

    /// Drops the calls, which cancels them, and waits until their futures are gone.
    fn release(&mut self, py: Python<'_>) -> PyResult<()> {
        let Some(held) = self.held.take() else {
            return Ok(());
        };
        held.abort();
        py.detach(|| {
            callers()?.block_on(async { drop(held.await) });
            Ok(())
        })
    }
}
