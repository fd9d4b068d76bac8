//! Export to OpenTelemetry collectors, as Python sees it.
//!
//! Invariant: nothing here waits for the converter or a collector while it holds the GIL.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use gilscope_instrument::SinkId;
use gilscope_instrument::otlp::{Otlp, OtlpHandle, Settings};
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::life::park::ParkOnExit;

/// An exporter that runs, or has run.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Export {
    /// Of the process that opened it.
    generation: u64,
    /// `None`: `OTEL_SDK_DISABLED`.
    handle: Option<OtlpHandle>,
    /// `None`: closed.
    sink: Mutex<Option<SinkId>>,
}

#[pymethods]
impl Export {
    #[new]
    #[pyo3(signature = (endpoint=None, close_within=None))]
    fn new(
        py: Python<'_>,
        endpoint: Option<String>,
        close_within: Option<Bound<'_, PyAny>>,
    ) -> PyResult<Self> {
        let _parks = ParkOnExit::new();
        let close_within = close_within.as_ref().map(seconds).transpose()?;
        // It may be open at exit, and in a fork, without there having been any runtime.
        crate::life::exit::register(py)?;
        let started = py.detach(|| {
            let Some(settings) = Settings::read(endpoint.as_deref())? else {
                return Ok(None);
            };
            let (mut sink, handle) = Otlp::start(settings)?;
            if let Some(time) = close_within {
                sink = sink.close_within(time);
            }
            Ok(Some((
                gilscope_instrument::attach_sink(Box::new(sink)),
                handle,
            )))
        });
        let started = started.map_err(|invalid: gilscope_instrument::otlp::Invalid| {
            PyValueError::new_err(invalid.to_string())
        })?;
        let (sink, handle) = started.unzip();
        Ok(Self {
            generation: crate::life::fork::generation(),
            handle,
            sink: Mutex::new(sink),
        })
    }

    /// Sends what is left, within its time, and ends it. A second time does nothing; in a forked
    /// child, whose parent's it is, neither does the first.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        if self.generation != crate::life::fork::generation() {
            return Ok(());
        }
        let sink = self
            .sink
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(sink) = sink {
            py.detach(|| gilscope_instrument::detach_sink(sink))?;
        }
        Ok(())
    }

    /// Whether spans are exported: not closed, not switched off by `OTEL_SDK_DISABLED`.
    #[getter]
    fn active(&self) -> bool {
        let open = self
            .sink
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_some();
        open && self.generation == crate::life::fork::generation()
    }

    /// Spans so far: `exported`, and those that were lost, by reason.
    fn counts<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let _parks = ParkOnExit::new();
        let counts = PyDict::new(py);
        let handle = self.handle.as_ref();
        counts.set_item("disabled", handle.is_none())?;
        counts.set_item("exported", handle.map_or(0, OtlpHandle::exported))?;
        let lost = handle.map(OtlpHandle::lost).unwrap_or_default();
        for (reason, count) in lost.by_reason() {
            counts.set_item(reason, count)?;
        }
        counts.set_item("lost", lost.in_words())?;
        counts.set_item("to", handle.map(OtlpHandle::to))?;
        counts.set_item("failure", handle.and_then(OtlpHandle::last_failure))?;
        Ok(counts)
    }
}

/// As a time to wait for.
fn seconds(given: &Bound<'_, PyAny>) -> PyResult<Duration> {
    let given = super::given::seconds("close_within", "a number of seconds or None", given)?;
    match given {
        0.0..f64::INFINITY => Ok(Duration::try_from_secs_f64(given).unwrap_or(Duration::MAX)),
        _ => Err(PyValueError::new_err(format!(
            "close_within must be a number of seconds, not {given}"
        ))),
    }
}
