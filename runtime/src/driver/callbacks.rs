//! Done callbacks of a task.
//!
//! Invariant: a callback is scheduled at most once, in the order it was added, through the loop's
//! `call_soon` and in its own context.

use std::cell::UnsafeCell;

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;

use super::capi;
use super::globals::globals;
use super::task::Task;

/// A callable and the `contextvars.Context` it runs in.
pub(super) type Callback = (Py<PyAny>, Py<PyAny>);

/// The callbacks that wait for the end of a task.
pub(super) struct Callbacks(UnsafeCell<Vec<Callback>>);

impl Callbacks {
    pub(super) const fn empty() -> Self {
        Self(UnsafeCell::new(Vec::new()))
    }

    fn push(&self, callback: Callback) {
        // SAFETY: `Callbacks` is not Sync and hands out no reference; pushing runs no Python code.
        unsafe { (*self.0.get()).push(callback) }
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // SAFETY: as in `push`; only the length is read.
        unsafe { (*self.0.get()).is_empty() }
    }

    /// Moves all callbacks out.
    pub(super) fn take(&self) -> Vec<Callback> {
        // SAFETY: as in `push`; nothing is dropped here.
        unsafe { std::mem::take(&mut *self.0.get()) }
    }

    /// New references to all callbacks.
    pub(super) fn snapshot(&self, py: Python<'_>) -> Vec<Callback> {
        // SAFETY: as in `push`; taking new references runs no Python code.
        let callbacks = unsafe { &*self.0.get() };
        callbacks
            .iter()
            .map(|(call, context)| (call.clone_ref(py), context.clone_ref(py)))
            .collect()
    }

    /// Takes out the callbacks whose callable is one of `calls`.
    fn extract(&self, calls: &[Py<PyAny>]) -> Vec<Callback> {
        // SAFETY: as in `push`; objects are compared by identity, and moved instead of dropped.
        let callbacks = unsafe { &mut *self.0.get() };
        callbacks
            .extract_if(.., |(call, _)| calls.iter().any(|other| other.is(&*call)))
            .collect()
    }

    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: as in `push`; the collector's visitors run no Python code.
        for (call, context) in unsafe { &*self.0.get() } {
            visit.call(call)?;
            visit.call(context)?;
        }
        Ok(())
    }
}

/// `add_done_callback`: schedules at once when the task has ended.
pub(super) fn add(
    task: &Bound<'_, Task>,
    call: Bound<'_, PyAny>,
    context: Option<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let context = match context {
        Some(context) => context,
        None => capi::copy_context(task.py())?,
    };
    let state = task.get().state();
    if state.is_pending() {
        state.callbacks.push((call.unbind(), context.unbind()));
        return Ok(());
    }
    schedule_one(task, &call, &context)
}

/// `remove_done_callback`: takes out all that compare equal and returns how many.
pub(super) fn remove(task: &Bound<'_, Task>, call: &Bound<'_, PyAny>) -> PyResult<usize> {
    let py = task.py();
    let callbacks = &task.get().state().callbacks;
    let mut equal = Vec::new();
    for (candidate, _) in callbacks.snapshot(py) {
        if candidate.bind(py).eq(call)? {
            equal.push(candidate);
        }
    }
    Ok(callbacks.extract(&equal).len())
}

/// Schedules all callbacks of a task that has just ended.
#[inline]
pub(super) fn schedule(task: &Bound<'_, Task>) -> PyResult<()> {
    let callbacks = &task.get().state().callbacks;
    if callbacks.is_empty() {
        return Ok(());
    }
    let py = task.py();
    for (call, context) in callbacks.take() {
        schedule_one(task, call.bind(py), context.bind(py))?;
    }
    Ok(())
}

fn schedule_one(
    task: &Bound<'_, Task>,
    call: &Bound<'_, PyAny>,
    context: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let py = task.py();
    let event_loop = task.get().event_loop(py)?;
    let globals = globals(py);
    capi::call_method_kw(
        &event_loop,
        &globals.names.call_soon,
        [call, task.as_any(), context],
        &globals.kw_context,
    )?;
    Ok(())
}
