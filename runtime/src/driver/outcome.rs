//! How a task ends, what it answers afterwards, and telling its owner.
//!
//! Invariant: a task ends once; its owner is told after the step that ended it was left, so that
//! the owner may run anything.

use pyo3::prelude::*;

use super::callbacks;
use super::capi;
use super::globals::globals;
use super::state::Status;
use super::task::Task;
use crate::call::TaskEnd;

/// The coroutine returned.
#[inline]
pub(super) fn returned(task: &Bound<'_, Task>, value: Bound<'_, PyAny>) -> PyResult<()> {
    let state = task.get().state();
    if state.must_cancel.replace(false) {
        return end(task, Status::Cancelled);
    }
    state.result.put(Some(value.unbind()));
    end(task, Status::Finished)
}

/// The coroutine raised.
pub(super) fn raised(task: &Bound<'_, Task>, error: PyErr) -> PyResult<()> {
    let py = task.py();
    let state = task.get().state();
    let cancelled = error.is_instance(py, globals(py).cancelled_error.bind(py));
    let exception = error.into_value(py).into_bound(py).into_any();
    if cancelled {
        state.cancelled_error.put(Some(exception.unbind()));
        state.cancel_message.put(None);
        return end(task, Status::Cancelled);
    }
    state
        .traceback
        .put(capi::traceback(&exception).map(Bound::unbind));
    state.exception.put(Some(exception.unbind()));
    end(task, Status::Finished)
}

fn end(task: &Bound<'_, Task>, status: Status) -> PyResult<()> {
    task.get().state().status.set(status);
    let removed = globals(task.py()).registry.remove(task);
    callbacks::schedule(task).and(removed)
}

/// Tells the owner, if the step just left ended the task.
///
/// A step that failed without ending the task would leave it waiting for ever: it ends with that
/// failure instead. A failure after the end is returned.
#[inline]
pub(super) fn settle(task: &Bound<'_, Task>, ran: PyResult<()>) -> PyResult<()> {
    let state = task.get().state();
    let ran = match ran {
        Err(error) if state.is_pending() => {
            state.waiter.put(None);
            raised(task, error)
        }
        ran => ran,
    };
    if !state.is_pending() {
        tell_owner(task);
    }
    ran
}

/// Delivers the end of the task to its owner, the first time it is called.
pub(super) fn tell_owner(task: &Bound<'_, Task>) {
    let py = task.py();
    let state = task.get().state();
    let Some(driven) = state.owner.take() else {
        return;
    };
    let end = match state.status.get() {
        Status::Cancelled => cancelled_end(task),
        _ => match state.exception.get(py) {
            Some(exception) => TaskEnd::Raised(exception.unbind()),
            None => TaskEnd::Returned(state.result.or_none(py)),
        },
    };
    driven.done(py, end);
}

/// The end of a cancelled task; `result()` still has the coroutine's own exception to raise.
fn cancelled_end(task: &Bound<'_, Task>) -> TaskEnd {
    let py = task.py();
    if let Some(error) = task.get().state().cancelled_error.get(py) {
        return TaskEnd::Cancelled(error.unbind());
    }
    match cancelled_error(task) {
        Ok(error) => TaskEnd::Cancelled(error.unbind()),
        Err(error) => TaskEnd::Raised(error.into_value(py).into_any()),
    }
}

/// `_make_cancelled_error()`: the coroutine's own exception once, a new one from then on.
pub(super) fn cancelled_error<'py>(task: &Bound<'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    let py = task.py();
    let state = task.get().state();
    if let Some(error) = state.cancelled_error.take() {
        return Ok(error.into_bound(py));
    }
    let class = globals(py).cancelled_error.bind(py);
    match state
        .cancel_message
        .get(py)
        .filter(|message| !message.is_none())
    {
        Some(message) => class.call1((message,)),
        None => class.call0(),
    }
}

/// `result()`.
pub(super) fn result(task: &Bound<'_, Task>) -> PyResult<Py<PyAny>> {
    let py = task.py();
    let state = task.get().state();
    match state.status.get() {
        Status::Pending => Err(invalid_state(py, "Result is not ready.")),
        Status::Cancelled => Err(capi::raise(&cancelled_error(task)?)),
        Status::Finished => match state.exception.get(py) {
            None => Ok(state.result.or_none(py)),
            Some(exception) => {
                // Each retrieval starts from the traceback the task ended with.
                capi::set_traceback(&exception, state.traceback.get(py).as_ref());
                Err(capi::raise(&exception))
            }
        },
    }
}

/// `exception()`.
pub(super) fn exception(task: &Bound<'_, Task>) -> PyResult<Py<PyAny>> {
    let py = task.py();
    let state = task.get().state();
    match state.status.get() {
        Status::Pending => Err(invalid_state(py, "Exception is not set.")),
        Status::Cancelled => Err(capi::raise(&cancelled_error(task)?)),
        Status::Finished => Ok(state.exception.or_none(py)),
    }
}

fn invalid_state(py: Python<'_>, message: &str) -> PyErr {
    capi::raise_new(globals(py).invalid_state.bind(py), message)
}

/// `cancel(msg)`: through the future the task waits for, or at the next step.
pub(super) fn cancel(task: &Bound<'_, Task>, message: Option<Bound<'_, PyAny>>) -> PyResult<bool> {
    let py = task.py();
    let state = task.get().state();
    if !state.is_pending() {
        return Ok(false);
    }
    state.cancels.set(state.cancels.get() + 1);
    if let Some(waiter) = state.waiter.get(py) {
        let none = py.None().into_bound(py);
        if cancel_future(&waiter, message.as_ref().unwrap_or(&none))? {
            return Ok(true);
        }
    }
    state.must_cancel.set(true);
    state.cancel_message.put(message.map(Bound::unbind));
    Ok(true)
}

/// `future.cancel(msg=message)`.
pub(super) fn cancel_future<'py>(
    future: &Bound<'py, PyAny>,
    message: &Bound<'py, PyAny>,
) -> PyResult<bool> {
    let globals = globals(future.py());
    let cancelled =
        capi::call_method_kw(future, &globals.names.cancel, [message], &globals.kw_msg)?;
    cancelled.is_truthy()
}
