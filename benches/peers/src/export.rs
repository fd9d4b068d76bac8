//! Export to a collector while calls are made: what it sends, and what calls then take.
//!
//! Invariant: calls are made at the times that the rate says, whatever the calls before them do.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt};
use gilscope_instrument::otlp::{Otlp, OtlpHandle, Settings};
use gilscope_instrument::{SinkId, attach_sink, detach_sink};
use gilscope_runtime::{Error, PyFun, py_runtime};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use tokio::time::{MissedTickBehavior, interval};

use crate::drive::callers;

static EXPORT: Mutex<Option<(SinkId, OtlpHandle)>> = Mutex::new(None);

/// How long the close of an exporter may take, to send what is left.
const CLOSE: Duration = Duration::from_secs(30);
/// Calls are made in bursts, this far apart: about as exact as timers are.
const TICK: Duration = Duration::from_millis(1);

fn failed(error: impl std::fmt::Display) -> PyErr {
    PyRuntimeError::new_err(error.to_string())
}

/// Starts to export to `endpoint`, for the rest as the `OTEL_…` variables say.
#[pyfunction]
pub(crate) fn ours_export(py: Python<'_>, endpoint: &str) -> PyResult<()> {
    py.detach(|| {
        let settings = Settings::read(Some(endpoint)).map_err(failed)?;
        let settings = settings.ok_or_else(|| failed("OTEL_SDK_DISABLED"))?;
        let (sink, handle) = Otlp::start(settings).map_err(failed)?;
        let sink = attach_sink(Box::new(sink.close_within(CLOSE)));
        *EXPORT.lock().map_err(failed)? = Some((sink, handle));
        Ok(())
    })
}

fn counts(handle: &OtlpHandle) -> HashMap<&'static str, u64> {
    let lost = handle.lost().by_reason();
    let exported = [("exported", handle.exported())];
    lost.into_iter().chain(exported).collect()
}

/// Spans so far: `exported`, and those lost by reason.
#[pyfunction]
pub(crate) fn ours_exported() -> PyResult<HashMap<&'static str, u64>> {
    let export = EXPORT.lock().map_err(failed)?;
    Ok(export
        .as_ref()
        .map_or_else(HashMap::new, |(_, handle)| counts(handle)))
}

/// Sends what is left, and ends it; counts as [`ours_exported`].
#[pyfunction]
pub(crate) fn ours_export_end(py: Python<'_>) -> PyResult<HashMap<&'static str, u64>> {
    py.detach(|| {
        let export = EXPORT.lock().map_err(failed)?.take();
        let (sink, handle) = export.ok_or_else(|| failed("nothing is exported"))?;
        detach_sink(sink)?;
        Ok(counts(&handle))
    })
}

/// Nanoseconds from call to outcome of each of `n` calls of `fun(i)`, `per_second` of them, in bursts a
/// millisecond apart.
#[pyfunction]
pub(crate) fn ours_paced(
    fun: &Bound<'_, PyAny>,
    n: usize,
    per_second: usize,
) -> PyResult<Vec<u64>> {
    let callee = PyFun::new(fun);
    let burst = per_second * TICK.as_millis() as usize / 1000;
    fun.py()
        .detach(|| Ok(callers()?.block_on(paced(&callee, n, burst.max(1)))?))
}

async fn paced(callee: &PyFun, n: usize, burst: usize) -> Result<Vec<u64>, Error> {
    let runtime = py_runtime()?;
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut open = FuturesUnordered::new();
    let (mut started, mut took) = (0, Vec::with_capacity(n));
    while took.len() < n {
        tokio::select! {
            Some(lasted) = open.next() => took.push(lasted?),
            _ = ticks.tick(), if started < n => {
                for i in started..n.min(started + burst) {
                    let began = Instant::now();
                    let call = runtime.call_async::<Py<PyAny>>(callee, (i,));
                    open.push(async move {
                        call.await?;
                        Ok::<_, Error>(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX))
                    });
                }
                started = n.min(started + burst);
            }
        }
    }
    Ok(took)
}
