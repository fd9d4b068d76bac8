//! What to do with the object a coroutine yielded: wait for it, or complain.
//!
//! Invariant: afterwards exactly one thing will run the next step: a scheduled step or the
//! wake-up of the future the task waits for.

use pyo3::exceptions::{PyAttributeError, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::builtins;
use super::capi;
use super::globals::{Globals, globals};
use super::outcome;
use super::step;
use super::task::Task;

/// Arranges the next step. `Err` means that none could be arranged.
#[inline]
pub(super) fn handle<'py>(task: &Bound<'py, Task>, value: Bound<'py, PyAny>) -> PyResult<()> {
    if value.is_none() {
        return step::schedule(task, None);
    }
    match wait_for(task, &value)? {
        None => Ok(()),
        Some(complaint) => step::schedule(task, Some(complaint)),
    }
}

/// Waits for a future; returns the error to throw when `value` cannot be waited for.
fn wait_for<'py>(task: &Bound<'py, Task>, value: &Bound<'py, PyAny>) -> PyResult<Option<PyErr>> {
    let py = task.py();
    let globals = globals(py);
    if value.is(task) {
        return complaint(format!("Task cannot await on itself: {}", task.repr()?));
    }
    let blocking = attribute(value, &globals.names.blocking)?.filter(|flag| !flag.is_none());
    let Some(blocking) = blocking else {
        return complain_about(task, value);
    };
    if !loop_of(value, globals)?.is(&task.get().event_loop(py)?) {
        return complaint(format!(
            "Task {} got Future {} attached to a different loop",
            task.repr()?,
            value.repr()?
        ));
    }
    if !blocking.is_truthy()? {
        return complaint(format!(
            "yield was used instead of yield from in task {} with {}",
            task.repr()?,
            value.repr()?
        ));
    }
    subscribe(task, value, globals)?;
    Ok(None)
}

/// Becomes the waiter of a future of the same loop.
fn subscribe<'py>(
    task: &Bound<'py, Task>,
    future: &Bound<'py, PyAny>,
    globals: &Globals,
) -> PyResult<()> {
    let py = task.py();
    let state = task.get().state();
    let names = &globals.names;
    future.setattr(&names.blocking, false)?;
    let wakeup = builtins::wakeup_of(task)?;
    let context = step::context_of_handle(task)?;
    let arguments = [&wakeup, &context];
    capi::call_method_kw(
        future,
        &names.add_done_callback,
        arguments,
        &globals.kw_context,
    )?;
    state.waiter.put(Some(future.clone().unbind()));
    if state.must_cancel.get() {
        let message = state.cancel_message.or_none(py).into_bound(py);
        if outcome::cancel_future(future, &message)? {
            state.must_cancel.set(false);
        }
    }
    Ok(())
}

/// The event loop of a future.
fn loop_of<'py>(future: &Bound<'py, PyAny>, globals: &Globals) -> PyResult<Bound<'py, PyAny>> {
    let names = &globals.names;
    // Calling first saves the usual future a bound method.
    match future.call_method0(&names.get_loop) {
        Err(error) if error.is_instance_of::<PyAttributeError>(future.py()) => {
            match attribute(future, &names.get_loop)? {
                Some(_) => Err(error),
                None => future.getattr(&names.private_loop),
            }
        }
        called => called,
    }
}

/// An attribute that may be missing.
fn attribute<'py>(
    object: &Bound<'py, PyAny>,
    name: &Py<pyo3::types::PyString>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    match object.getattr(name) {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_instance_of::<PyAttributeError>(object.py()) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is wrong with a yielded object that is no future.
fn complain_about(task: &Bound<'_, Task>, value: &Bound<'_, PyAny>) -> PyResult<Option<PyErr>> {
    // SAFETY: `value` is a live object, of which only the type is looked at.
    if unsafe { ffi::PyGen_CheckExact(value.as_ptr()) } != 0 {
        return complaint(format!(
            "yield was used instead of yield from for generator in task {} with {}",
            task.repr()?,
            value.repr()?
        ));
    }
    // The message is asyncio's own, which does not say what is the matter: the note does.
    let error = PyRuntimeError::new_err(format!("Task got bad yield: {}", value.repr()?));
    let name = value.get_type().fully_qualified_name()?.to_string();
    let note = match name.split_once('.') {
        Some((library, _)) => format!(
            "{name} is nothing asyncio can wait for: the awaitable seems to belong to the library \
             '{library}', and calls run on asyncio"
        ),
        None => format!("{name} is nothing asyncio can wait for, and calls run on asyncio"),
    };
    error.add_note(task.py(), note)?;
    Ok(Some(error))
}

fn complaint(text: String) -> PyResult<Option<PyErr>> {
    Ok(Some(PyRuntimeError::new_err(text)))
}
