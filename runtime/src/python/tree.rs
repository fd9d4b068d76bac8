//! The await tree, switched on and off by Python.
//!
//! Invariant: who answers is a thread of the instrument, which never attaches.

use std::sync::{Mutex, PoisonError};

use gilscope_instrument::tree;
use pyo3::prelude::*;

use crate::life::park::ParkOnExit;

/// Answers `gilscope tree` until it is closed or let go of. Raises `OSError` if there is no folder for
/// its socket that is this user's alone.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Tree(Mutex<Option<tree::Tree>>);

#[pymethods]
impl Tree {
    #[new]
    fn new(py: Python<'_>) -> PyResult<Self> {
        let _parks = ParkOnExit::new();
        let open = py.detach(tree::open)?;
        Ok(Self(Mutex::new(Some(open))))
    }

    /// A second time does nothing; in a forked child, whose parent's it is, neither does the first.
    /// Waits for nobody: not for the GIL either, which it keeps.
    // No guard: nothing in here can unwind or attach.
    fn close(&self) {
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}
