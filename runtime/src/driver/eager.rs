//! The first step of a task, run at once where the task was created.
//!
//! Invariant: when it returns, the context and the current task are what they were before, and
//! only then the owner of an ended task is told.

use pyo3::prelude::*;

use super::capi;
use super::globals::{Globals, globals};
use super::outcome;
use super::step;
use super::task::Task;

/// Runs the first step; whether the task is pending afterwards.
pub(super) fn first_step(task: &Bound<'_, Task>) -> bool {
    let ran = as_current(task, globals(task.py()));
    if let Err(error) = outcome::settle(task, ran) {
        // The task has ended and its owner knows; nobody else is there to be told.
        error.write_unraisable(task.py(), Some(task.as_any()));
    }
    task.get().state().is_pending()
}

fn as_current(task: &Bound<'_, Task>, globals: &Globals) -> PyResult<()> {
    let event_loop = task.get().event_loop(task.py())?;
    let before = globals.current.swap(&event_loop, task.as_any())?;
    let ran = registered(task, globals);
    let restored = globals.current.swap(&event_loop, &before);
    ran.and(restored.map(drop))
}

fn registered(task: &Bound<'_, Task>, globals: &Globals) -> PyResult<()> {
    let py = task.py();
    let context = task.get().state().context.or_none(py).into_bound(py);
    globals.registry.begin_eager(task)?;
    let ran = capi::inside(&context, || step::run(task, None)).flatten();
    let moved = globals.registry.end_eager(task);
    ran.and(moved)
}
