//! Makes a task the current one of its loop and back.
//!
//! Invariant: every [`CurrentTask::swap`] is undone by a [`CurrentTask::restore`] of what it
//! returned, every [`CurrentTask::enter`] by a [`CurrentTask::leave`].

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PyDict;

/// Behind `asyncio.current_task()`.
pub(super) struct CurrentTask {
    enter: Py<PyAny>,
    leave: Py<PyAny>,
    place: Place,
}

/// Where asyncio keeps the current task.
enum Place {
    /// In a dict loop → task that its C functions share (up to 3.13). Looking into it is cheaper
    /// than calling them: 60 ns of the 900 of a call that never suspends.
    Dict(Py<PyDict>),
    /// Out of reach: `_swap_current_task(loop, task)` exchanges it.
    Swap(Py<PyAny>),
}

impl CurrentTask {
    pub(super) fn new(tasks: &Bound<'_, PyAny>) -> PyResult<Self> {
        let dict = tasks.getattr("_current_tasks").ok();
        let place = match dict.and_then(|dict| dict.cast_into::<PyDict>().ok()) {
            Some(dict) if is_used(tasks, &dict).unwrap_or(false) => Place::Dict(dict.unbind()),
            _ => Place::Swap(tasks.getattr("_swap_current_task")?.unbind()),
        };
        Ok(Self {
            enter: tasks.getattr("_enter_task")?.unbind(),
            leave: tasks.getattr("_leave_task")?.unbind(),
            place,
        })
    }

    /// Makes `task` current; refused while another task is running.
    #[inline]
    pub(super) fn enter(
        &self,
        event_loop: &Bound<'_, PyAny>,
        task: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = task.py();
        if let Place::Dict(dict) = &self.place
            && set_default(dict.bind(py), event_loop, task)?.is_none()
        {
            return Ok(());
        }
        // Also where it is refused: the error is asyncio's.
        self.enter.bind(py).call1((event_loop, task)).map(drop)
    }

    /// Ends what `enter` began.
    #[inline]
    pub(super) fn leave(
        &self,
        event_loop: &Bound<'_, PyAny>,
        task: &Bound<'_, PyAny>,
    ) -> PyResult<()> {
        let py = task.py();
        if let Place::Dict(dict) = &self.place {
            let dict = dict.bind(py);
            if dict
                .get_item(event_loop)?
                .is_some_and(|current| current.is(task))
            {
                return dict.del_item(event_loop);
            }
        }
        self.leave.bind(py).call1((event_loop, task)).map(drop)
    }

    /// Makes `task` current, whatever is running, and returns the one before.
    #[inline]
    pub(super) fn swap<'py>(
        &self,
        event_loop: &Bound<'py, PyAny>,
        task: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyAny>>> {
        let py = task.py();
        match &self.place {
            Place::Dict(dict) => {
                let before = set_default(dict.bind(py), event_loop, task)?;
                if before.is_some() {
                    dict.bind(py).set_item(event_loop, task)?;
                }
                Ok(before)
            }
            Place::Swap(swap) => {
                let before = swap.bind(py).call1((event_loop, task))?;
                Ok((!before.is_none()).then_some(before))
            }
        }
    }

    /// Ends what `swap` began.
    #[inline]
    pub(super) fn restore(
        &self,
        event_loop: &Bound<'_, PyAny>,
        before: Option<Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let py = event_loop.py();
        match (&self.place, before) {
            (Place::Dict(dict), Some(before)) => dict.bind(py).set_item(event_loop, before),
            (Place::Dict(dict), None) => dict.bind(py).del_item(event_loop),
            (Place::Swap(swap), before) => swap.bind(py).call1((event_loop, before)).map(drop),
        }
    }
}

/// Whether asyncio's functions look into the dict: it may be left over from an older way.
fn is_used(tasks: &Bound<'_, PyAny>, dict: &Bound<'_, PyDict>) -> PyResult<bool> {
    let object = || tasks.py().get_type::<PyAny>().call0();
    let (event_loop, task) = (object()?, object()?);
    tasks.call_method1("_enter_task", (&event_loop, &task))?;
    let found = dict.get_item(&event_loop)?;
    tasks.call_method1("_leave_task", (&event_loop, &task))?;
    Ok(found.is_some_and(|found| found.is(&task)))
}

/// Puts a task in where there is none; the one that was there before.
#[inline]
fn set_default<'py>(
    dict: &Bound<'py, PyDict>,
    event_loop: &Bound<'py, PyAny>,
    task: &Bound<'py, PyAny>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    // SAFETY: three live objects; the result is borrowed from the dict or NULL with an error set.
    let present = unsafe {
        let object = ffi::PyDict_SetDefault(dict.as_ptr(), event_loop.as_ptr(), task.as_ptr());
        Bound::from_borrowed_ptr_or_err(dict.py(), object)?
    };
    Ok((!present.is(task)).then_some(present))
}
