//! Keeps `asyncio.all_tasks()` complete.
//!
//! Invariant: a pending task is in exactly one of asyncio's sets, a finished one in none. The
//! sets are filled directly, which saves `WeakSet.add` its Python frame; where their private
//! fields are missing, asyncio's own functions are called.

use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::PySet;

use super::globals::optional;
use super::task::Task;

/// asyncio's sets of tasks.
pub(super) struct Registry {
    register: Py<PyAny>,
    weak: Option<WeakTasks>,
    eager: Eager,
}

/// The inside of a `WeakSet`.
struct WeakTasks {
    data: Py<PySet>,
    /// The callback its weak references carry.
    remove: Py<PyAny>,
}

/// Where a task is kept during its first step.
enum Eager {
    /// There is no such place (3.11): it is registered as any other.
    Missing,
    Set(Py<PySet>),
    Calls {
        register: Py<PyAny>,
        unregister: Py<PyAny>,
    },
}

impl Registry {
    pub(super) fn new(tasks: &Bound<'_, PyAny>) -> PyResult<Self> {
        let weak = optional(tasks, "_scheduled_tasks").or_else(|| optional(tasks, "_all_tasks"));
        Ok(Self {
            register: tasks.getattr("_register_task")?.unbind(),
            weak: weak.and_then(|set| WeakTasks::inside(set.bind(tasks.py()))),
            eager: Eager::find(tasks),
        })
    }

    /// Enters a task for its first step.
    #[inline]
    pub(super) fn begin_eager(&self, task: &Bound<'_, Task>) -> PyResult<()> {
        match &self.eager {
            Eager::Missing => self.add(task),
            Eager::Set(set) => set.bind(task.py()).add(task),
            Eager::Calls { register, .. } => register.bind(task.py()).call1((task,)).map(drop),
        }
    }

    /// Ends [`Registry::begin_eager`]; a task that is still pending moves to the weak set.
    #[inline]
    pub(super) fn end_eager(&self, task: &Bound<'_, Task>) -> PyResult<()> {
        match &self.eager {
            Eager::Missing => return Ok(()),
            Eager::Set(set) => drop(set.bind(task.py()).discard(task)?),
            Eager::Calls { unregister, .. } => drop(unregister.bind(task.py()).call1((task,))?),
        }
        if task.get().state().is_pending() {
            self.add(task)
        } else {
            Ok(())
        }
    }

    fn add(&self, task: &Bound<'_, Task>) -> PyResult<()> {
        let py = task.py();
        let Some(weak) = &self.weak else {
            return self.register.bind(py).call1((task,)).map(drop);
        };
        let reference = weak_reference(task, weak.remove.bind(py))?;
        weak.data.bind(py).add(&reference)?;
        task.get()
            .state()
            .registration
            .put(Some(reference.unbind()));
        Ok(())
    }

    /// Takes an ended task out, so that its weak reference never has to call back.
    #[inline]
    pub(super) fn remove(&self, task: &Bound<'_, Task>) -> PyResult<()> {
        let py = task.py();
        let Some(reference) = task.get().state().registration.take() else {
            return Ok(());
        };
        match &self.weak {
            Some(weak) => weak.data.bind(py).discard(reference).map(drop),
            None => Ok(()),
        }
    }
}

impl WeakTasks {
    fn inside(set: &Bound<'_, PyAny>) -> Option<Self> {
        let data = set
            .getattr("data")
            .ok()?
            .cast_into::<PySet>()
            .ok()?
            .unbind();
        Some(Self {
            data,
            remove: set.getattr("_remove").ok()?.unbind(),
        })
    }
}

impl Eager {
    fn find(tasks: &Bound<'_, PyAny>) -> Self {
        let set = tasks
            .getattr("_eager_tasks")
            .ok()
            .and_then(|set| set.cast_into().ok());
        if let Some(set) = set {
            return Self::Set(set.unbind());
        }
        let calls =
            optional(tasks, "_register_eager_task").zip(optional(tasks, "_unregister_eager_task"));
        calls.map_or(Self::Missing, |(register, unregister)| Self::Calls {
            register,
            unregister,
        })
    }
}

/// `weakref.ref(task, callback)`.
fn weak_reference<'py>(
    task: &Bound<'py, Task>,
    callback: &Bound<'py, PyAny>,
) -> PyResult<Bound<'py, PyAny>> {
    // SAFETY: both arguments are live; the result is a new reference or null with an exception
    // set.
    unsafe {
        let reference = ffi::PyWeakref_NewRef(task.as_ptr(), callback.as_ptr());
        Bound::from_owned_ptr_or_err(task.py(), reference)
    }
}
