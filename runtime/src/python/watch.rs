//! The watchdog, as Python sees it.
//!
//! Invariant: whoever opened it wants it until it is closed; a forked child's parent's is not its own.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::given::{self, Given};
use crate::life::park::ParkOnExit;
use crate::watchdog;

/// The shortest threshold; what is shorter is how threads take turns.
const LEAST: f64 = 1e-3;

/// Wants the watchdog to run.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Watch(Mutex<Option<watchdog::Watch>>);

#[pymethods]
impl Watch {
    /// `seconds`: what counts as slow from now on, of waits for the GIL and of polls.
    #[new]
    #[pyo3(signature = (seconds=None))]
    fn new(py: Python<'_>, seconds: Given<'_, '_>) -> PyResult<Self> {
        let _parks = ParkOnExit::new();
        let number =
            |given| given::seconds("watchdog", "True, False or a number of seconds", given);
        let seconds = seconds.map(number).transpose()?;
        let slow = seconds.map(|seconds| {
            let slow = Duration::try_from_secs_f64(seconds).ok();
            slow.filter(|_| seconds >= LEAST).ok_or_else(|| {
                let text = format!("watchdog must be at least {LEAST} seconds, not {seconds}");
                PyValueError::new_err(text)
            })
        });
        let watch = watchdog::Watch::start(py, slow.transpose()?)?;
        Ok(Self(Mutex::new(watch)))
    }

    /// Wants it no longer. A second time does nothing.
    fn close(&self, py: Python<'_>) {
        let _parks = ParkOnExit::new();
        let watch = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        py.detach(|| drop(watch));
    }

    /// Whether it runs for us: not closed, not forbidden by `GILSCOPE_WATCHDOG=0`, and of this process.
    #[getter]
    fn active(&self) -> bool {
        let watch = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        watch.as_ref().is_some_and(watchdog::Watch::is_active)
    }
}

impl Drop for Watch {
    /// Let go of without `close`, it goes on until the end of the process, as an export does.
    fn drop(&mut self) {
        let watch = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        std::mem::forget(watch.take());
    }
}
