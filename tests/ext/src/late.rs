//! A cancel that comes late: after its call has ended and another call has taken its place.
//!
//! Invariant: the closure holds the deadline's timer, not the loop, so the order below is forced.

use std::time::Duration;

use gilscope_runtime::{PyAsyncCallback, PyFun, PyHandle, py_runtime};
use pyo3::prelude::*;

/// Calls `short` with a deadline whose closure is slow, and `victim` while the closure runs; says how
/// `victim` ended. `short` has to end after 20 ms and before 100 ms, `victim` to take 0.5 s.
#[pyfunction]
pub(crate) fn late_cancel(
    py: Python<'_>,
    short: &Bound<'_, PyAny>,
    victim: &Bound<'_, PyAny>,
) -> PyResult<String> {
    let (short, victim) = (PyFun::new(short), PyFun::new(victim));
    py.detach(|| {
        let rt = py_runtime()?;
        let slow = Box::new(|_| std::thread::sleep(Duration::from_millis(250)));
        rt.call(&short, ())
            .deadline(Duration::from_millis(20))
            .try_send::<PyHandle>(PyAsyncCallback::Closure(slow))?;
        std::thread::sleep(Duration::from_millis(120));
        let ended = rt.call_blocking::<PyHandle>(&victim, ());
        Ok(ended.map_or_else(|error| error.to_string(), |_| "returned".to_owned()))
    })
}
