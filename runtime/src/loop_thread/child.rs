//! Tasks made inside calls: who made them, when they are polled, how they end.
//!
//! Invariant: a child is known by a weak reference, so that watching a task never keeps it alive;
//! what is left when the loop ends is closed then.

use std::collections::HashMap;

use gilscope_instrument::notes::{self, Notes, Value};
use gilscope_instrument::{Name, OpenTask, Status};
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyString, PyTuple};

use super::inherited;
use super::state::{LoopState, Stop, current};
use crate::life::park::Parking;
use crate::python::names::name;
use crate::python::text::readable;

/// The open children of one loop, by the task's address.
#[derive(Default)]
pub(crate) struct Children {
    open: HashMap<usize, (OpenTask, Py<PyAny>)>,
    /// The child being polled, whose own children are below it.
    polled: OpenTask,
}

/// What surrounds one step of a child.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Child {
    callback: Parking<Py<PyAny>>,
    task: Parking<Py<PyAny>>,
    open: u32,
    /// The task, under the name by which asyncio's debug output asks for it.
    outer: std::sync::atomic::AtomicU32,
}

// No guard: called on the loop's thread, which carries one all its life.
#[pymethods]
impl Child {
    #[pyo3(signature = (*args))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        args: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let result = self.step(py, |callback| {
            // SAFETY: a callable and a tuple; a new reference or NULL with an error set.
            unsafe { ffi::PyObject_CallObject(callback.as_ptr(), args.as_ptr()) }
        });
        // SAFETY: as above.
        unsafe { Bound::from_owned_ptr_or_err(py, result) }
    }

    #[getter]
    fn __self__(&self, py: Python<'_>) -> Py<PyAny> {
        self.task.clone_ref(py)
    }
}

/// A child's next step is scheduled: opens it at its first, stamps the wake at later ones.
pub(crate) fn scheduled(state: &LoopState, task: &Bound<'_, PyAny>) -> Option<OpenTask> {
    let key = task.as_ptr() as usize;
    let known = {
        let children = state.children.borrow();
        children
            .open
            .get(&key)
            .map(|(open, weak)| (*open, weak.clone_ref(task.py())))
    };
    if let Some((open, weak)) = known {
        if weak.bind(task.py()).call0().is_ok_and(|same| same.is(task)) {
            state.recorder.task_woken(open);
            return Some(open);
        }
        // Another task at the same address: the old one was destroyed while it was pending.
        state.children.borrow_mut().open.remove(&key);
        state.close(open, Status::CancelledByCallee, None);
    }
    open(state, task, key)
}

fn open(state: &LoopState, task: &Bound<'_, PyAny>, key: usize) -> Option<OpenTask> {
    let above = state.children.borrow().polled;
    let call = state.recorder.current();
    if above == OpenTask::default() && call == Default::default() {
        return None; // made outside of any call: the root task, hooks
    }
    let name = name_of(task);
    let open = if above == OpenTask::default() {
        state.recorder.task_open(call, name)
    } else {
        state.recorder.task_open_below(above, name)
    };
    if open == OpenTask::default() {
        return None;
    }
    let made_in = if above == OpenTask::default() {
        call.0
    } else {
        above.0
    };
    if let Some(tracestate) = state.tracestates.get(made_in) {
        state.tracestates.insert(open.0, tracestate);
    }
    // SAFETY: attached; a new reference or NULL with an error set, for what has no weak references.
    let weak = unsafe {
        let weak = ffi::PyWeakref_NewRef(task.as_ptr(), std::ptr::null_mut());
        Bound::from_owned_ptr_or_err(task.py(), weak)
    };
    match weak {
        Ok(weak) => {
            state
                .children
                .borrow_mut()
                .open
                .insert(key, (open, weak.unbind()));
            Some(open)
        }
        Err(_) => {
            state.close(open, Status::Error, None);
            None
        }
    }
}

fn name_of(task: &Bound<'_, PyAny>) -> Name {
    let py = task.py();
    let coroutine = task.call_method0(name!(py, c"get_coro"));
    coroutine.map_or(Name(0), |it| crate::python::function::of(&it))
}

/// The name that user code gave the task, where somebody wants spans. Asked for at its end: asyncio names a task
/// after its first step was scheduled, and makes up a default name when it is asked for one.
fn given_name(task: &Bound<'_, PyAny>) -> Option<String> {
    if !gilscope_instrument::watched() {
        return None;
    }
    let name = task.call_method0(name!(task.py(), c"get_name")).ok()?;
    let name = readable(name.cast::<PyString>().ok()?);
    (!is_default(&name)).then(|| name.into_owned())
}

/// Whether it is asyncio's own: `Task-1`.
fn is_default(name: &str) -> bool {
    let number = name.strip_prefix("Task-").unwrap_or_default();
    !number.is_empty() && number.bytes().all(|digit| digit.is_ascii_digit())
}

impl Child {
    pub(crate) fn keep(
        py: Python<'_>,
        callback: &Bound<'_, PyAny>,
        task: &Bound<'_, PyAny>,
        open: OpenTask,
    ) -> PyResult<Py<PyAny>> {
        let child = Self {
            callback: Parking::new(callback.clone().unbind()),
            task: Parking::new(task.clone().unbind()),
            open: open.0,
            outer: Default::default(),
        };
        Py::new(py, child).map(Py::into_any)
    }

    /// Runs the step between two stamps.
    pub(crate) fn step(
        &self,
        py: Python<'_>,
        run: impl FnOnce(&Py<PyAny>) -> *mut ffi::PyObject,
    ) -> *mut ffi::PyObject {
        self.before();
        let result = run(&self.callback);
        if !result.is_null() {
            inherited::check(py);
        }
        if result.is_null() {
            // KeyboardInterrupt and SystemExit come out of a step; looking must not lose them.
            let error = PyErr::fetch(py);
            self.after(py);
            error.restore(py);
        } else {
            self.after(py);
        }
        result
    }

    fn before(&self) {
        let Some(state) = current() else { return };
        state.flush_if_late();
        let open = OpenTask(self.open);
        let outer = std::mem::replace(&mut state.children.borrow_mut().polled, open);
        self.outer
            .store(outer.0, std::sync::atomic::Ordering::Relaxed);
        state.recorder.task_poll_start(open);
    }

    fn after(&self, py: Python<'_>) {
        let Some(state) = current() else { return };
        let open = OpenTask(self.open);
        state.recorder.task_poll_end(open);
        let outer = self.outer.load(std::sync::atomic::Ordering::Relaxed);
        state.children.borrow_mut().polled = OpenTask(outer);
        let task = self.task.bind(py);
        match state.end_of(task) {
            Ok(Some((status, error))) => {
                let removed = state
                    .children
                    .borrow_mut()
                    .open
                    .remove(&(task.as_ptr() as usize));
                if let Some(error) = error {
                    state.raised(open, &error);
                }
                state.close(open, status, given_name(task));
                drop(removed);
            }
            Ok(None) => {
                let coroutine = task.call_method0(name!(py, c"get_coro"));
                let at = coroutine.as_ref();
                let at = at.map_or(Name(0), crate::python::place::awaiting);
                state.recorder.task_suspended(open, at);
                if gilscope_instrument::tree::wanted()
                    && let Ok(coroutine) = coroutine
                {
                    let chain = crate::python::place::chain(&coroutine);
                    state.recorder.task_awaits(open, chain);
                }
            }
            Err(error) => error.write_unraisable(py, Some(task)),
        }
    }
}

/// What a task's end is told of: its status, and its exception if that is an error.
type End<'py> = (Status, Option<Bound<'py, PyAny>>);

impl LoopState {
    /// How a task ended, if it did; looking does not count as retrieving its exception.
    fn end_of<'py>(&self, task: &Bound<'py, PyAny>) -> PyResult<Option<End<'py>>> {
        let py = task.py();
        if !task.call_method0(name!(py, c"done"))?.is_truthy()? {
            return Ok(None);
        }
        if task.call_method0(name!(py, c"cancelled"))?.is_truthy()? {
            return Ok(Some((self.who_cancelled(py)?, None)));
        }
        let error = task.getattr(name!(py, c"_exception"))?;
        Ok(Some(if error.is_none() {
            (Status::Ok, None)
        } else {
            (Status::Error, Some(error))
        }))
    }

    #[cold]
    fn raised(&self, task: OpenTask, error: &Bound<'_, PyAny>) {
        let text = crate::python::text::render(error, false);
        let stack = crate::python::stack::exported(error);
        self.recorder
            .task_error(task, &text.type_name, &text.message, &stack);
    }

    /// Who cancelled a child: the shutdown, once it cancels all calls, or all is over and what is left of
    /// the loop's tasks is cancelled; else code of the callee, as far as is known.
    #[cold]
    fn who_cancelled(&self, py: Python<'_>) -> PyResult<Status> {
        let over = || {
            let done = self
                .helpers
                .stopped
                .bind(py)
                .call_method0(name!(py, c"done"))?;
            done.is_truthy()
        };
        Ok(if self.stop.get() >= Stop::Cancel || over()? {
            Status::CancelledByShutdown
        } else {
            Status::CancelledByCallee
        })
    }

    fn close(&self, task: OpenTask, status: Status, named: Option<String>) {
        let mut notes = self.tracestates.end(task.0);
        if let Some(named) = named {
            let notes = notes.get_or_insert_with(Notes::default);
            notes.set(notes::TASK_NAME, Value::Text(named));
        }
        if let Some(notes) = notes {
            self.recorder.task_notes(task, notes);
        }
        self.recorder.task_close(task, status);
    }

    /// Closes the spans of children that outlived the loop.
    pub(crate) fn close_children(&self) {
        let children = std::mem::take(&mut *self.children.borrow_mut());
        for (open, _) in children.open.values() {
            self.close(*open, Status::CancelledByShutdown, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_default;

    #[test]
    fn what_asyncio_makes_up_is_not_given() {
        for name in ["Task-1", "Task-007", "Task-18446744073709551615"] {
            assert!(is_default(name), "{name}");
        }
        for name in [
            "",
            "Task-",
            "Task",
            "task-1",
            "Task-1a",
            "Task-\u{661}",
            "7",
            "Task--1",
        ] {
            assert!(!is_default(name), "{name}");
        }
    }
}
