//! Steps the coroutine of one call: the `asyncio.Task` protocol in Rust, started eagerly.
//!
//! Invariant: a [`Driven`] handed to [`start`] is told the end of its task exactly once, whatever
//! the coroutine, its callbacks or the event loop do.
//!
//! Only the runtime's own root coroutines run in this [`Task`]. It is not installed as a task
//! factory: tasks that user code creates stay asyncio's own. Everything here needs the GIL and runs
//! on the thread of the event loop, with one exception: a pending task that nobody holds any more
//! ends in the garbage collector, on whatever thread that runs. Who holds the task that [`start`]
//! returned until its end never meets this.
//!
//! A task differs from asyncio's own in four ways only. `KeyboardInterrupt` and `SystemExit` go to
//! the owner and not on into the loop. Its exception counts as retrieved, because the owner has it.
//! Where another thread is in its context when a step is due, asyncio loses the step; here it waits.
//! And where asyncio would leave a task pending for ever (a step that could not be completed, a task
//! destroyed while pending), it ends with an error.

mod builtins;
mod callbacks;
mod capi;
mod current;
mod eager;
mod finalize;
mod globals;
mod iter;
mod outcome;
mod registry;
mod spare;
mod state;
mod step;
mod task;
mod yielded;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::call::Driven;
use crate::loop_thread::context::Entered;

pub(crate) use builtins::as_woken_task;
pub(crate) use iter::TaskIter;
pub(crate) use spare::Spare;
pub(crate) use task::Task;

/// What [`start`] needs to run one coroutine.
pub(crate) struct Start<'py> {
    /// The running event loop of this thread.
    pub(crate) event_loop: &'py Bound<'py, PyAny>,
    /// The coroutine, not started yet.
    pub(crate) coro: Bound<'py, PyAny>,
    /// The `contextvars.Context` every step runs in; used as it is, not copied. It is left after
    /// the first step.
    pub(crate) context: Entered<'py>,
    /// Somebody else may be in the context when a step is due.
    pub(crate) shared: bool,
    /// The task's name; `None` makes one up when somebody asks.
    pub(crate) name: Option<Py<PyString>>,
    /// Who is told about polls and about the end.
    pub(crate) driven: Driven,
    /// Whether to remember where the task was created, as asyncio's debug mode does.
    pub(crate) debug: bool,
    /// Where to look for a task object, and where to leave it when the first step ends the task.
    pub(crate) spare: &'py Spare,
}

/// Prepares the driver. Call it before anything else of this module; later calls do nothing.
///
/// Errors when asyncio lacks a public part the driver stands on. Needs the GIL.
pub(crate) fn install(py: Python<'_>) -> PyResult<()> {
    globals::install(py)?;
    finalize::install(py)
}

/// Runs the first step of a coroutine at once, as the current task.
///
/// Returns the task when the coroutine suspended and `None` when it ended; the end, an error of
/// the driver's own included, goes to [`Driven::done`], which runs after the context and the
/// current task have been restored. `Err` means that no task could be made (out of memory, or the
/// creation traceback failed): the coroutine did not run and `driven` was dropped.
///
/// Call it on the event loop's thread with the GIL held, also from inside another task.
pub(crate) fn start(start: Start<'_>) -> PyResult<Option<Py<Task>>> {
    let spare = start.spare;
    let (task, context) = Task::prepare(start)?;
    if eager::first_step(&task, context) {
        return Ok(Some(task.unbind()));
    }
    spare.put(task);
    Ok(None)
}
