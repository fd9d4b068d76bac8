//! The first step of a task, run at once where the task was created.
//!
//! Invariant: when it returns, the context and the current task are what they were before, and
//! only then the owner of an ended task is told.

use pyo3::prelude::*;

use crate::loop_thread::context::Entered;

use super::globals::{Globals, globals};
use super::outcome;
use super::step;
use super::task::Task;

/// Runs the first step and leaves its context; whether the task is pending afterwards.
pub(super) fn first_step(task: &Bound<'_, Task>, context: Entered<'_>) -> bool {
    let ran = as_current(task, globals(task.py()));
    let left = context.leave();
    if let Err(error) = outcome::settle(task, ran.and(left)) {
        // The task has ended and its owner knows; nobody else is there to be told.
        error.write_unraisable(task.py(), Some(task.as_any()));
    }
    task.get().state().is_pending()
}

fn as_current(task: &Bound<'_, Task>, globals: &Globals) -> PyResult<()> {
    let event_loop = task.get().event_loop(task.py())?;
    let before = globals.current.swap(&event_loop, task.as_any())?;
    let ran = registered(task, globals);
    let restored = globals.current.restore(&event_loop, before);
    ran.and(restored)
}

fn registered(task: &Bound<'_, Task>, globals: &Globals) -> PyResult<()> {
    globals.registry.begin_eager(task)?;
    let ran = step::run(task, None);
    let moved = globals.registry.end_eager(task);
    ran.and(moved)
}
