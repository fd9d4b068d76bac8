//! pyo3-async-runtimes 0.30, used the way its README shows.
//!
//! Invariant: no tuning on either side of it: `run` owns the loop, each call attaches, calls the
//! function and converts its coroutine with `into_future`; results are dropped unread.

use std::time::Instant;

use pyo3::prelude::*;
use pyo3::types::PyCFunction;

use crate::drive::{WARM_UP, drive};

/// Seconds that `n` calls of the coroutine function `fun(i)` take, `in_flight` of them at a time.
#[pyfunction]
pub(crate) fn par_calls(
    py: Python<'_>,
    fun: Py<PyAny>,
    n: usize,
    in_flight: usize,
) -> PyResult<f64> {
    pyo3_async_runtimes::tokio::run(py, async move {
        let start = |i: usize| {
            Python::attach(|py| {
                let coroutine = fun.bind(py).call1((i,))?;
                pyo3_async_runtimes::tokio::into_future(coroutine)
            })
        };
        drive(WARM_UP, in_flight, start).await?;
        Ok(drive(n, in_flight, start).await?.as_secs_f64())
    })
}

/// Seconds in which `fun(make, n, in_flight)`, a coroutine function, awaits `n` ready Rust
/// futures made by `make(i)`.
#[pyfunction]
pub(crate) fn par_await_rust(
    py: Python<'_>,
    fun: Py<PyAny>,
    n: usize,
    in_flight: usize,
) -> PyResult<f64> {
    let make = PyCFunction::new_closure(py, None, None, |args, _kwargs| {
        let i: usize = args.get_item(0)?.extract()?;
        let py = args.py();
        pyo3_async_runtimes::tokio::future_into_py(py, async move { Ok(i) }).map(Bound::unbind)
    })?
    .unbind();
    pyo3_async_runtimes::tokio::run(py, async move {
        let one = |n: usize| {
            Python::attach(|py| {
                let coroutine = fun.bind(py).call1((&make, n, in_flight))?;
                pyo3_async_runtimes::tokio::into_future(coroutine)
            })
        };
        one(WARM_UP)?.await?;
        let began = Instant::now();
        one(n)?.await?;
        Ok(began.elapsed().as_secs_f64())
    })
}
