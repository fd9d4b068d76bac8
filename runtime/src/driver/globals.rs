//! What the driver borrows from asyncio, looked up once per process.
//!
//! Invariant: once installed nothing here changes, and whatever asyncio may lack has a way around
//! it through asyncio's public functions.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyString, PyTuple};

use super::current::CurrentTask;
use super::registry::Registry;

/// Functions, classes and interned names.
pub(super) struct Globals {
    pub(super) current: CurrentTask,
    pub(super) registry: Registry,
    pub(super) task_class: Py<PyAny>,
    pub(super) cancelled_error: Py<PyAny>,
    pub(super) invalid_state: Py<PyAny>,
    /// `base_tasks._task_repr`; early 3.11 releases have only the parts of it.
    pub(super) task_repr: Option<Py<PyAny>>,
    pub(super) task_repr_info: Py<PyAny>,
    pub(super) get_stack: Py<PyAny>,
    pub(super) print_stack: Py<PyAny>,
    pub(super) extract_stack: Py<PyAny>,
    /// 3.13 on: `uncancel()` down to zero takes back a cancellation not thrown yet.
    pub(super) uncancel_clears: bool,
    pub(super) kw_context: Py<PyTuple>,
    pub(super) kw_msg: Py<PyTuple>,
    pub(super) names: Names,
}

/// Interned attribute names.
pub(super) struct Names {
    pub(super) add_done_callback: Py<PyString>,
    pub(super) blocking: Py<PyString>,
    pub(super) call_exception_handler: Py<PyString>,
    pub(super) call_soon: Py<PyString>,
    pub(super) cancel: Py<PyString>,
    pub(super) get_loop: Py<PyString>,
    pub(super) private_loop: Py<PyString>,
    pub(super) result: Py<PyString>,
    pub(super) throw: Py<PyString>,
    pub(super) value: Py<PyString>,
}

static GLOBALS: PyOnceLock<Globals> = PyOnceLock::new();

/// The globals. [`install`] must have succeeded before.
#[inline]
pub(super) fn globals(py: Python<'_>) -> &'static Globals {
    GLOBALS
        .get(py)
        .expect("the driver is installed before its first use")
}

/// Looks everything up, once.
pub(super) fn install(py: Python<'_>) -> PyResult<()> {
    crate::python::imports::once(py, &GLOBALS, || Globals::new(py)).map(drop)
}

impl Globals {
    fn new(py: Python<'_>) -> PyResult<Self> {
        let tasks = py.import("asyncio.tasks")?;
        let base = py.import("asyncio.base_tasks")?;
        let errors = py.import("asyncio.exceptions")?;
        let keyword = |name: &str| PyTuple::new(py, [PyString::intern(py, name)]);
        Ok(Self {
            current: CurrentTask::new(&tasks)?,
            registry: Registry::new(&tasks)?,
            task_class: tasks.getattr("Task")?.unbind(),
            cancelled_error: errors.getattr("CancelledError")?.unbind(),
            invalid_state: errors.getattr("InvalidStateError")?.unbind(),
            task_repr: optional(&base, "_task_repr"),
            task_repr_info: base.getattr("_task_repr_info")?.unbind(),
            get_stack: base.getattr("_task_get_stack")?.unbind(),
            print_stack: base.getattr("_task_print_stack")?.unbind(),
            extract_stack: py.import("traceback")?.getattr("extract_stack")?.unbind(),
            uncancel_clears: py.version_info() >= (3, 13),
            kw_context: keyword("context")?.unbind(),
            kw_msg: keyword("msg")?.unbind(),
            names: Names::new(py),
        })
    }
}

impl Names {
    fn new(py: Python<'_>) -> Self {
        let name = |text: &str| PyString::intern(py, text).unbind();
        Self {
            add_done_callback: name("add_done_callback"),
            blocking: name("_asyncio_future_blocking"),
            call_exception_handler: name("call_exception_handler"),
            call_soon: name("call_soon"),
            cancel: name("cancel"),
            get_loop: name("get_loop"),
            private_loop: name("_loop"),
            result: name("result"),
            throw: name("throw"),
            value: name("value"),
        }
    }
}

/// A private attribute that some versions lack.
pub(super) fn optional(module: &Bound<'_, PyAny>, name: &str) -> Option<Py<PyAny>> {
    module.getattr(name).ok().map(Bound::unbind)
}
