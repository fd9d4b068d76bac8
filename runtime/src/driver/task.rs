//! The task as Python sees it: the members of `asyncio.Task`.
//!
//! Invariant: it answers as asyncio's own does, also to `isinstance`; only C code that compares
//! types can tell the difference.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use pyo3::PyTraverseError;
use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::{PyList, PyString};

use crate::call::Driven;
use crate::life::park::ParkOnExit;
use crate::loop_thread::context::Entered;

use super::Start;
use super::callbacks;
use super::globals::globals;
use super::iter::TaskIter;
use super::outcome;
use super::state::{State, Status};

/// A root coroutine being driven. Python code meets it as an `asyncio.Task`.
#[pyclass(frozen, dict, weakref, module = "gilscope._native", name = "Task")]
pub(crate) struct Task {
    state: State,
}

// SAFETY: the state is touched only with the GIL held: by methods, by steps, by the garbage
// collector and by the deallocator.
unsafe impl Send for Task {}
// SAFETY: as above.
unsafe impl Sync for Task {}

impl Task {
    /// A pending task, and the context its first step runs in.
    pub(super) fn prepare(start: Start<'_>) -> PyResult<(Bound<'_, Self>, Entered<'_>)> {
        let py = start.coro.py();
        let event_loop = start.event_loop.clone().unbind();
        let context = start.context.context().clone().unbind();
        let (coro, name, driven) = (start.coro.unbind(), start.name, start.driven);
        let task = if let Some(task) = start.spare.take(py) {
            let state = task.get().state();
            state.renew(event_loop, coro, context, name, driven);
            state.shared.set(start.shared);
            task
        } else {
            let state = State::new(event_loop, coro, context, name, driven);
            state.shared.set(start.shared);
            Bound::new(py, Self { state })?
        };
        if start.debug {
            let stack = globals(py).extract_stack.bind(py).call0()?;
            task.get().state.source_traceback.put(Some(stack.unbind()));
        }
        Ok((task, start.context))
    }

    #[inline]
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// The loop the task belongs to; `Err` once the garbage collector took it apart.
    #[inline]
    pub(super) fn event_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let cleared = || PyRuntimeError::new_err("Future object is not initialized.");
        self.state.event_loop.get(py).ok_or_else(cleared)
    }

    /// Nobody will end the task, and whoever waited for it knows: it may be destroyed while pending.
    pub(crate) fn give_up(&self) {
        self.state.log_destroy.set(false);
    }

    /// Stamps the moment the next step was scheduled. Runs no Python code; needs the GIL.
    #[inline]
    pub(crate) fn woken(&self) {
        // SAFETY: `Driven::woken` only takes a stamp.
        unsafe { self.state.owner.with(Driven::woken) };
    }
}

// No guard, but for what any thread may want to see: as asyncio's, a task is for the loop's thread, which
// carries one all its life.
#[pymethods]
impl Task {
    /// Requests cancellation; `false` when the task has ended. Call it on the loop's thread.
    #[pyo3(signature = (msg=None))]
    pub(crate) fn cancel(slf: &Bound<'_, Self>, msg: Option<Bound<'_, PyAny>>) -> PyResult<bool> {
        outcome::cancel(slf, msg)
    }

    /// How many cancellations were requested and not taken back.
    pub(crate) fn cancelling(&self) -> i64 {
        self.state.cancels.get()
    }

    fn uncancel(&self, py: Python<'_>) -> i64 {
        let left = self.state.cancels.get() - 1;
        if left < 0 {
            return 0;
        }
        self.state.cancels.set(left);
        if left == 0 && globals(py).uncancel_clears {
            self.state.must_cancel.set(false);
        }
        left
    }

    fn cancelled(&self) -> bool {
        self.state.status.get() == Status::Cancelled
    }

    fn done(&self) -> bool {
        !self.state.is_pending()
    }

    fn result(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        outcome::result(slf)
    }

    fn exception(slf: &Bound<'_, Self>) -> PyResult<Py<PyAny>> {
        outcome::exception(slf)
    }

    #[pyo3(signature = (r#fn, /, *, context=None))]
    fn add_done_callback(
        slf: &Bound<'_, Self>,
        r#fn: Bound<'_, PyAny>,
        context: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        callbacks::add(slf, r#fn, context)
    }

    #[pyo3(signature = (r#fn, /))]
    fn remove_done_callback(slf: &Bound<'_, Self>, r#fn: &Bound<'_, PyAny>) -> PyResult<usize> {
        callbacks::remove(slf, r#fn)
    }

    fn get_coro(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.coro.or_none(py)
    }

    fn get_context(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.context.or_none(py)
    }

    fn get_loop<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.event_loop(py)
    }

    fn get_name<'py>(&self, py: Python<'py>) -> Bound<'py, PyString> {
        self.state.name.get(py).unwrap_or_else(|| {
            let name = PyString::new(py, &next_name());
            self.state.name.put(Some(name.clone().unbind()));
            name
        })
    }

    #[pyo3(signature = (value, /))]
    fn set_name(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let _parks = ParkOnExit::new();
        self.state.name.put(Some(value.str()?.unbind()));
        Ok(())
    }

    #[pyo3(signature = (_result, /))]
    fn set_result(&self, _result: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyRuntimeError::new_err(
            "Task does not support set_result operation",
        ))
    }

    #[pyo3(signature = (_exception, /))]
    fn set_exception(&self, _exception: &Bound<'_, PyAny>) -> PyResult<()> {
        Err(PyRuntimeError::new_err(
            "Task does not support set_exception operation",
        ))
    }

    #[pyo3(signature = (*, limit=None))]
    fn get_stack<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        let py = slf.py();
        globals(py).get_stack.bind(py).call1((slf, limit))
    }

    #[pyo3(signature = (*, limit=None, file=None))]
    fn print_stack<'py>(
        slf: &Bound<'py, Self>,
        limit: Option<Bound<'py, PyAny>>,
        file: Option<Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        let py = slf.py();
        globals(py).print_stack.bind(py).call1((slf, limit, file))
    }

    fn _make_cancelled_error<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        outcome::cancelled_error(slf)
    }

    fn __repr__<'py>(slf: &Bound<'py, Self>) -> PyResult<Bound<'py, PyAny>> {
        let _parks = ParkOnExit::new();
        let py = slf.py();
        let globals = globals(py);
        if let Some(task_repr) = &globals.task_repr {
            return task_repr.bind(py).call1((slf,));
        }
        let mut text = String::from("<Task");
        for part in globals.task_repr_info.bind(py).call1((slf,))?.try_iter()? {
            let _ = write!(text, " {}", part?);
        }
        text.push('>');
        Ok(PyString::new(py, &text).into_any())
    }

    fn __await__(slf: &Bound<'_, Self>) -> TaskIter {
        TaskIter::new(slf)
    }

    fn __iter__(slf: &Bound<'_, Self>) -> TaskIter {
        TaskIter::new(slf)
    }

    /// `isinstance(task, asyncio.Task)` asks for this.
    #[getter]
    fn __class__<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        globals(py).task_class.bind(py).clone()
    }

    #[getter]
    fn _asyncio_future_blocking(&self) -> bool {
        self.state.blocking.get()
    }

    #[setter(_asyncio_future_blocking)]
    fn set_blocking(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.state.blocking.set(value.is_truthy()?);
        Ok(())
    }

    /// Never set: the owner has retrieved the exception.
    #[getter]
    fn _log_traceback(&self) -> bool {
        false
    }

    #[setter(_log_traceback)]
    fn set_log_traceback(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        if value.is_truthy()? {
            return Err(PyValueError::new_err(
                "_log_traceback can only be set to False",
            ));
        }
        Ok(())
    }

    #[getter]
    fn _log_destroy_pending(&self) -> bool {
        self.state.log_destroy.get()
    }

    #[setter(_log_destroy_pending)]
    fn set_log_destroy(&self, value: &Bound<'_, PyAny>) -> PyResult<()> {
        self.state.log_destroy.set(value.is_truthy()?);
        Ok(())
    }

    #[getter]
    fn _must_cancel(&self) -> bool {
        self.state.must_cancel.get()
    }

    #[getter]
    fn _num_cancels_requested(&self) -> i64 {
        self.state.cancels.get()
    }

    #[getter]
    fn _coro(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.coro.or_none(py)
    }

    #[getter]
    fn _fut_waiter(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.waiter.or_none(py)
    }

    #[getter]
    fn _loop(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.event_loop.or_none(py)
    }

    #[getter]
    fn _state(&self) -> &'static str {
        match self.state.status.get() {
            Status::Pending => "PENDING",
            Status::Cancelled => "CANCELLED",
            Status::Finished => "FINISHED",
        }
    }

    #[getter]
    fn _result(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.result.or_none(py)
    }

    #[getter]
    fn _exception(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.exception.or_none(py)
    }

    #[getter]
    fn _cancel_message(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.cancel_message.or_none(py)
    }

    #[setter(_cancel_message)]
    fn set_cancel_message(&self, value: Option<Py<PyAny>>) {
        self.state.cancel_message.put(value);
    }

    #[getter]
    fn _source_traceback(&self, py: Python<'_>) -> Py<PyAny> {
        self.state.source_traceback.or_none(py)
    }

    #[getter]
    fn _callbacks<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyList>>> {
        if self.state.callbacks.is_empty() {
            return Ok(None);
        }
        PyList::new(py, self.state.callbacks.snapshot(py)).map(Some)
    }

    fn __traverse__(&self, visit: PyVisit<'_>) -> Result<(), PyTraverseError> {
        self.state.traverse(&visit)
    }

    fn __clear__(&self) {
        let _parks = ParkOnExit::new();
        self.state.clear();
    }
}

/// A name for a task that was given none, unlike those asyncio makes up.
fn next_name() -> String {
    static NUMBER: AtomicU64 = AtomicU64::new(1);
    format!("gilscope-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}
