//! One step of a task: resume the coroutine and act on what comes out.
//!
//! Invariant: between entering and leaving a step the task is `stepping`, no second step begins,
//! and the owner is told the end only after the step has been left.

use pyo3::exceptions::PyStopIteration;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::IntoPyDict;

use crate::call::Driven;
use crate::loop_thread::context::Entered;
use crate::loop_thread::inherited;

use super::builtins;
use super::capi::{self, Resumed};
use super::globals::{Globals, globals};
use super::outcome;
use super::task::Task;
use super::yielded;

/// How long a step waits before it looks again whether its context is free, in seconds.
const AGAIN: f64 = 0.001;

/// Runs the step that the event loop or a future asked for, throwing `state.throw` if it is set.
pub(super) fn step(task: &Bound<'_, Task>) -> PyResult<()> {
    inherited::check(task.py());
    let state = task.get().state();
    if !state.shared.get() || !state.is_pending() {
        return step_inside(task);
    }
    let context = state.context.or_none(task.py()).into_bound(task.py());
    let Ok(entered) = Entered::new(context) else {
        return again(task);
    };
    let stepped = step_inside(task);
    let left = entered.leave();
    stepped.and(left)
}

/// Has the loop try the step again: somebody else is in its context.
#[cold]
fn again(task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let options = [("context", context_of_handle(task)?)].into_py_dict(py)?;
    let event_loop = task.get().event_loop(py)?;
    event_loop.call_method(
        "call_later",
        (AGAIN, builtins::step_of(task)?),
        Some(&options),
    )?;
    Ok(())
}

/// What the loop is to run a step in. One that is shared is entered by the step itself: the loop would
/// lose a step whose context it cannot enter.
#[inline]
pub(super) fn context_of_handle<'py>(task: &Bound<'py, Task>) -> PyResult<Bound<'py, PyAny>> {
    let (py, state) = (task.py(), task.get().state());
    if state.shared.get() {
        // SAFETY: attached; a new reference, or null with an exception set.
        return unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_New()) };
    }
    Ok(state.context.or_none(py).into_bound(py))
}

/// The step, inside its context.
fn step_inside(task: &Bound<'_, Task>) -> PyResult<()> {
    let py = task.py();
    let globals = globals(py);
    let state = task.get().state();
    let throw = state.throw.take().map(|exception| exception.into_bound(py));
    if !state.is_pending() || state.stepping.get() {
        return Err(refusal(task, throw.as_ref()));
    }
    let event_loop = task.get().event_loop(py)?;
    globals.current.enter(&event_loop, task.as_any())?;
    let ran = run(task, throw);
    let left = globals.current.leave(&event_loop, task.as_any());
    let settled = outcome::settle(task, ran);
    settled.and(left)
}

/// Schedules the next step; `throw` is what it throws into the coroutine.
#[inline]
pub(super) fn schedule(task: &Bound<'_, Task>, throw: Option<PyErr>) -> PyResult<()> {
    let py = task.py();
    let globals = globals(py);
    let state = task.get().state();
    if let Some(error) = throw {
        state.throw.put(Some(error.into_value(py).into_any()));
    }
    let event_loop = task.get().event_loop(py)?;
    let context = context_of_handle(task)?;
    let step = builtins::step_of(task)?;
    let names = &globals.names;
    capi::call_method_kw(
        &event_loop,
        &names.call_soon,
        [&step, &context],
        &globals.kw_context,
    )?;
    Ok(())
}

/// Resumes the coroutine once. `Err` is a failure of the machinery, not of the coroutine.
pub(super) fn run<'py>(task: &Bound<'py, Task>, throw: Option<Bound<'py, PyAny>>) -> PyResult<()> {
    let state = task.get().state();
    state.stepping.set(true);
    let result = resume_and_act(task, throw);
    state.stepping.set(false);
    result
}

fn resume_and_act<'py>(task: &Bound<'py, Task>, throw: Option<Bound<'py, PyAny>>) -> PyResult<()> {
    let py = task.py();
    let globals = globals(py);
    let state = task.get().state();
    let throw = if state.must_cancel.get() {
        cancellation(task, throw)?
    } else {
        throw
    };
    state.waiter.put(None);
    let coro = state.coro.or_none(py).into_bound(py);
    // SAFETY: the owner is taken by `outcome::settle`, which only runs when no step is on the
    // stack; here one is.
    unsafe { state.owner.with(Driven::poll_start) };
    let resumed = match &throw {
        None => capi::send_none(&coro),
        Some(exception) => throw_into(&coro, exception, globals),
    };
    // SAFETY: as above.
    unsafe { state.owner.with(Driven::poll_end) };
    inherited::check_after(py, || match &resumed {
        Resumed::Raised(error) => Some(error.value(py).clone().into_any()),
        _ => None,
    });
    match resumed {
        Resumed::Yielded(value) => {
            // SAFETY: as above; Python code run from here cannot begin a second step.
            unsafe { state.owner.with(|driven| driven.suspended(py, &coro)) };
            yielded::handle(task, value)
        }
        Resumed::Returned(value) => outcome::returned(task, value),
        Resumed::Raised(error) => outcome::raised(task, error),
    }
}

/// What a step throws after `cancel()`: an exception that is a cancellation already stays.
fn cancellation<'py>(
    task: &Bound<'py, Task>,
    throw: Option<Bound<'py, PyAny>>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    let py = task.py();
    let class = globals(py).cancelled_error.bind(py);
    let throw = match throw {
        Some(exception) if exception.is_instance(class)? => exception,
        _ => outcome::cancelled_error(task)?,
    };
    task.get().state().must_cancel.set(false);
    Ok(Some(throw))
}

/// `coro.throw(exception)`, with the end of the coroutine told apart from an error.
fn throw_into<'py>(
    coro: &Bound<'py, PyAny>,
    exception: &Bound<'py, PyAny>,
    globals: &Globals,
) -> Resumed<'py> {
    let py = coro.py();
    let error = match coro.call_method1(&globals.names.throw, (exception,)) {
        Ok(value) => return Resumed::Yielded(value),
        Err(error) => error,
    };
    if !error.is_instance_of::<PyStopIteration>(py) {
        return Resumed::Raised(error);
    }
    match error.value(py).getattr(&globals.names.value) {
        Ok(value) => Resumed::Returned(value),
        Err(error) => Resumed::Raised(error),
    }
}

/// The error of a step that must not run.
fn refusal(task: &Bound<'_, Task>, throw: Option<&Bound<'_, PyAny>>) -> PyErr {
    let py = task.py();
    let class = globals(py).invalid_state.bind(py);
    let what = if task.get().state().is_pending() {
        "already running"
    } else {
        "already done"
    };
    let throw = throw.map_or_else(|| "None".to_owned(), |throw| format!("{throw:?}"));
    capi::raise_new(
        class,
        &format!("__step(): {what}: {:?}, {throw}", task.as_any()),
    )
}
