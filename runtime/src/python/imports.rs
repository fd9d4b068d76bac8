//! Python objects that are looked up once.
//!
//! Invariant: each is imported at its first use, attached, and lives as long as the interpreter.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;

/// `asyncio.CancelledError`.
pub(crate) fn cancelled_error(py: Python<'_>) -> &Bound<'_, PyAny> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    lookup(py, &CLASS, "asyncio.exceptions", "CancelledError")
}

/// `asyncio.events.get_running_loop`.
pub(crate) fn get_running_loop(py: Python<'_>) -> &Bound<'_, PyAny> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    lookup(py, &FUNCTION, "asyncio.events", "get_running_loop")
}

fn lookup<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    module: &str,
    name: &str,
) -> &'py Bound<'py, PyAny> {
    let import = || py.import(module)?.getattr(name).map(Bound::unbind);
    cell.get_or_try_init(py, import)
        .unwrap_or_else(|error| panic!("{module}.{name} is part of asyncio: {error}"))
        .bind(py)
}
