//! Makes a task the current one of its loop and back.
//!
//! Invariant: every [`CurrentTask::swap`] is undone by a second one with what the first returned,
//! every [`CurrentTask::enter`] by a [`CurrentTask::leave`].

use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::globals::optional;

/// The functions behind `asyncio.current_task()`.
pub(super) struct CurrentTask {
    enter: Py<PyAny>,
    leave: Py<PyAny>,
    swap: Swap,
}

/// How the current task is exchanged while another one may be running.
enum Swap {
    /// `_swap_current_task(loop, task)`, 3.12 on.
    Call(Py<PyAny>),
    /// 3.11 has the dict loop → task only.
    Dict(Py<PyDict>),
}

impl CurrentTask {
    pub(super) fn new(tasks: &Bound<'_, PyAny>) -> PyResult<Self> {
        let swap = match optional(tasks, "_swap_current_task") {
            Some(call) => Swap::Call(call),
            None => {
                let dict = tasks.getattr("_current_tasks")?.cast_into::<PyDict>();
                Swap::Dict(
                    dict.map_err(|_| PyTypeError::new_err("asyncio changed"))?
                        .unbind(),
                )
            }
        };
        Ok(Self {
            enter: tasks.getattr("_enter_task")?.unbind(),
            leave: tasks.getattr("_leave_task")?.unbind(),
            swap,
        })
    }

    /// Makes `task` current; refused while another task is running.
    #[inline]
    pub(super) fn enter(
        &self,
        event_loop: &Bound<'_, PyAny>,
        task: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.enter
            .bind(task.py())
            .call1((event_loop, task))
            .map(drop)
    }

    /// Ends what `enter` began.
    #[inline]
    pub(super) fn leave(
        &self,
        event_loop: &Bound<'_, PyAny>,
        task: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        self.leave
            .bind(task.py())
            .call1((event_loop, task))
            .map(drop)
    }

    /// Makes `task` (or none, for `None` the object) current and returns the one before.
    #[inline]
    pub(super) fn swap<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        task: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = task.py();
        match &self.swap {
            Swap::Call(call) => call.bind(py).call1((event_loop, task)),
            Swap::Dict(dict) => swap_in_dict(dict.bind(py), event_loop, task),
        }
    }
}

fn swap_in_dict<'py>(
    dict: &Bound<'py, PyDict>,
    event_loop: &Bound<'py, PyAny>,
    task: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    let before = dict.get_item(event_loop)?;
    if !task.is_none() {
        dict.set_item(event_loop, task)?;
    } else if before.is_some() {
        dict.del_item(event_loop)?;
    }
    Ok(before.unwrap_or_else(|| dict.py().None().into_bound(dict.py())))
}
