//! One loop for all: `n` calls, at most `in_flight` of them open at a time.
//!
//! Invariant: returns only after every call has delivered its outcome, and stops at the first
//! error instead of timing a loop that failed.

use std::future::Future;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::runtime::{Builder, Runtime};

/// Calls made before the clock starts, so that threads, loops and caches exist.
pub(crate) const WARM_UP: usize = 200;

/// Runs `n` calls made by `start(index)` and returns the time from the first start to the last
/// outcome.
pub(crate) async fn drive<F, T, E>(
    n: usize,
    in_flight: usize,
    mut start: impl FnMut(usize) -> Result<F, E>,
) -> Result<Duration, E>
where
    F: Future<Output = Result<T, E>>,
{
    let began = Instant::now();
    let mut open = FuturesUnordered::new();
    let mut started = 0;
    loop {
        while started < n && open.len() < in_flight {
            open.push(start(started)?);
            started += 1;
        }
        match open.next().await {
            Some(outcome) => drop(outcome?),
            None => return Ok(began.elapsed()),
        }
    }
}

/// The tokio runtime that drives the calls of the seed's design and of gilscope: two workers,
/// one per core of the machines that the figures are compared on.
pub(crate) fn callers() -> PyResult<&'static Runtime> {
    static CALLERS: OnceLock<Runtime> = OnceLock::new();
    if let Some(rt) = CALLERS.get() {
        return Ok(rt);
    }
    let made = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|e| PyRuntimeError::new_err(format!("no tokio runtime: {e}")))?;
    Ok(CALLERS.get_or_init(|| made))
}
