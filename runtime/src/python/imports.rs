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

/// `asyncio.Future`.
pub(crate) fn future(py: Python<'_>) -> &Bound<'_, PyAny> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    lookup(py, &CLASS, "asyncio.futures", "Future")
}

/// The type of functions.
pub(crate) fn function(py: Python<'_>) -> &Bound<'_, PyAny> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    lookup(py, &CLASS, "types", "FunctionType")
}

/// The type of bound methods.
pub(crate) fn method(py: Python<'_>) -> &Bound<'_, PyAny> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    lookup(py, &CLASS, "types", "MethodType")
}

/// `functools.partial`.
pub(crate) fn partial(py: Python<'_>) -> &Bound<'_, PyAny> {
    static CLASS: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    lookup(py, &CLASS, "functools", "partial")
}

/// `asyncio.events.get_running_loop`.
pub(crate) fn get_running_loop(py: Python<'_>) -> &Bound<'_, PyAny> {
    static FUNCTION: PyOnceLock<Py<PyAny>> = PyOnceLock::new();
    lookup(py, &FUNCTION, "asyncio.events", "get_running_loop")
}

/// The value of a cell, made if it is empty. Unlike `get_or_try_init` nobody waits for a thread that is
/// making it, which after a fork may not exist: threads that come at once all make one, and one stays.
pub(crate) fn once<T: Send + Sync>(
    py: Python<'_>,
    cell: &'static PyOnceLock<T>,
    make: impl FnOnce() -> PyResult<T>,
) -> PyResult<&'static T> {
    if cell.get(py).is_none() {
        let made = make()?;
        // Another thread's may be there by now.
        drop(cell.set(py, made));
    }
    Ok(cell.get(py).expect("set above, by this thread or another"))
}

/// Makes the types that calls need, pyo3's own among them, now: pyo3 lets go of the GIL while it makes one,
/// and a child forked at that moment would wait for it for ever.
pub(crate) fn make_types(py: Python<'_>) {
    drop([
        py.get_type::<pyo3::panic::PanicException>(),
        py.get_type::<crate::loop_thread::drain::Drain>(),
        py.get_type::<crate::loop_thread::flush::Flush>(),
        py.get_type::<crate::loop_thread::child::Child>(),
        py.get_type::<crate::loop_thread::caused::Caused>(),
        py.get_type::<crate::loop_thread::thread::Core>(),
        py.get_type::<crate::loop_thread::selector::Select>(),
        py.get_type::<crate::driver::Task>(),
        py.get_type::<crate::driver::TaskIter>(),
        py.get_type::<crate::future::awaitable::RustFuture>(),
        py.get_type::<crate::future::into_python::RustStream>(),
        py.get_type::<crate::future::port::ForeignPort>(),
        py.get_type::<crate::python::outcome::PyOutcome>(),
        py.get_type::<crate::python::runtime::Handle>(),
        py.get_type::<crate::trace::call_span::CallSpan>(),
    ]);
}

fn lookup<'py>(
    py: Python<'py>,
    cell: &'static PyOnceLock<Py<PyAny>>,
    module: &str,
    name: &str,
) -> &'py Bound<'py, PyAny> {
    let import = || py.import(module)?.getattr(name).map(Bound::unbind);
    once(py, cell, import)
        .unwrap_or_else(|error| panic!("{module}.{name} is part of asyncio: {error}"))
        .bind(py)
}
