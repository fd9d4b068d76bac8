//! The iterator that `map` returns: the results of a generator's futures.
//!
//! Invariant: what a call raised gets no frame of ours, and ends the generator, which cancels the rest.

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use super::names::name;
use crate::life::park::{ParkOnExit, Parking};

/// Native code: a generator that raised would be in the traceback.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Results {
    /// A generator of futures.
    futures: Parking<Py<PyAny>>,
}

#[pymethods]
impl Results {
    #[new]
    fn new(futures: Py<PyAny>) -> Self {
        let _parks = ParkOnExit::new();
        Self {
            futures: Parking::new(futures),
        }
    }

    // No guard: hands out what is there.
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let _parks = ParkOnExit::new();
        let Some(future) = self.futures.bind(py).try_iter()?.next() else {
            return Ok(None);
        };
        let result = future?.call_method0(name!(py, c"result"));
        result.map(Some).inspect_err(|_| self.end(py))
    }

    /// Cancel what is still running.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        self.futures.bind(py).call_method0(name!(py, c"close"))?;
        Ok(())
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&*self.futures)
    }
}

impl Results {
    /// Closes, on the way out of an error.
    fn end(&self, py: Python<'_>) {
        if let Err(error) = self.close(py) {
            error.write_unraisable(py, Some(self.futures.bind(py)));
        }
    }
}
