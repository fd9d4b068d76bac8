//! The fields of a task and the cells they live in.
//!
//! Invariant: no reference into a cell is alive while Python code can run. Values are cloned or
//! moved out first, and an old value is dropped only after its successor is in place.

use std::cell::{Cell, UnsafeCell};

use pyo3::PyTraverseError;
use pyo3::gc::PyVisit;
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::callbacks::Callbacks;
use crate::call::Driven;

/// Where a task is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Pending,
    Cancelled,
    Finished,
}

/// An optional Python reference that can be replaced through a shared reference.
pub(super) struct Slot<T = PyAny>(UnsafeCell<Option<Py<T>>>);

impl<T> Slot<T> {
    pub(super) const fn empty() -> Self {
        Self(UnsafeCell::new(None))
    }

    pub(super) fn of(value: Option<Py<T>>) -> Self {
        Self(UnsafeCell::new(value))
    }

    /// A new reference to the value.
    #[inline]
    pub(super) fn get<'py>(&self, py: Python<'py>) -> Option<Bound<'py, T>> {
        // SAFETY: `Slot` is not Sync and hands out no reference; taking a new reference to the
        // value runs no Python code, so nothing else touches the cell meanwhile.
        unsafe { (*self.0.get()).as_ref().map(|value| value.bind(py).clone()) }
    }

    /// A new reference to the value, or `None` the object.
    pub(super) fn or_none(&self, py: Python<'_>) -> Py<PyAny> {
        // SAFETY: as in `get`.
        unsafe {
            (*self.0.get())
                .as_ref()
                .map_or_else(|| py.None(), |value| value.clone_ref(py).into_any())
        }
    }

    /// Moves the value out.
    #[inline]
    pub(super) fn take(&self) -> Option<Py<T>> {
        // SAFETY: as in `get`; nothing is dropped here.
        unsafe { (*self.0.get()).take() }
    }

    /// Puts a value in; the old one is dropped once the new one is in place.
    #[inline]
    pub(super) fn put(&self, value: Option<Py<T>>) {
        // SAFETY: as in `get`; the old value is moved out and dropped after the cell is whole.
        let old = unsafe { std::mem::replace(&mut *self.0.get(), value) };
        drop(old);
    }

    /// Shows the value to the garbage collector.
    pub(super) fn visit(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        // SAFETY: as in `get`; the collector's visitors run no Python code.
        unsafe { visit.call(&*self.0.get()) }
    }
}

/// The owner of the call, until it is told the end.
pub(super) struct Owner(UnsafeCell<Option<Driven>>);

impl Owner {
    /// Shows the owner to `body`, unless it was told the end already.
    ///
    /// # Safety
    /// `body` must not reach [`Owner::take`] of the same task.
    #[inline]
    pub(super) unsafe fn with(&self, body: impl FnOnce(&Driven)) {
        // SAFETY: the cell changes only in `take`, which the caller excludes for this while.
        if let Some(driven) = unsafe { (*self.0.get()).as_ref() } {
            body(driven);
        }
    }

    /// Gives the next task its owner.
    fn put(&self, driven: Driven) {
        // SAFETY: as in `take`. The task before was told its end, so nothing is dropped here.
        unsafe { *self.0.get() = Some(driven) };
    }

    /// Moves the owner out, to tell it the end.
    pub(super) fn take(&self) -> Option<Driven> {
        // SAFETY: `Owner` is not Sync and no reference from `with` is alive, by its contract.
        unsafe { (*self.0.get()).take() }
    }
}

/// Everything a task knows.
pub(super) struct State {
    pub(super) event_loop: Slot,
    pub(super) coro: Slot,
    pub(super) context: Slot,
    /// The context is somebody else's as well.
    pub(super) shared: Cell<bool>,
    pub(super) name: Slot<PyString>,
    pub(super) status: Cell<Status>,
    /// `_asyncio_future_blocking`: somebody is just awaiting this task.
    pub(super) blocking: Cell<bool>,
    /// A step is on the stack.
    pub(super) stepping: Cell<bool>,
    /// Say so when the task is destroyed while pending.
    pub(super) log_destroy: Cell<bool>,
    /// Throw a `CancelledError` at the next step.
    pub(super) must_cancel: Cell<bool>,
    /// `cancelling()`.
    pub(super) cancels: Cell<i64>,
    /// The future the coroutine waits for.
    pub(super) waiter: Slot,
    /// The exception the scheduled step throws.
    pub(super) throw: Slot,
    pub(super) result: Slot,
    pub(super) exception: Slot,
    /// The traceback `exception` had when the task ended.
    pub(super) traceback: Slot,
    pub(super) cancel_message: Slot,
    /// The `CancelledError` the coroutine let out, raised once by `result()`.
    pub(super) cancelled_error: Slot,
    pub(super) source_traceback: Slot,
    /// The weak reference that stands for the task in `all_tasks()`.
    pub(super) registration: Slot,
    pub(super) callbacks: Callbacks,
    pub(super) owner: Owner,
}

impl State {
    /// A pending task that waits for nothing.
    pub(super) fn new(
        event_loop: Py<PyAny>,
        coro: Py<PyAny>,
        context: Py<PyAny>,
        name: Option<Py<PyString>>,
        driven: Driven,
    ) -> Self {
        Self {
            event_loop: Slot::of(Some(event_loop)),
            coro: Slot::of(Some(coro)),
            context: Slot::of(Some(context)),
            shared: Cell::new(false),
            name: Slot::of(name),
            status: Cell::new(Status::Pending),
            blocking: Cell::new(false),
            stepping: Cell::new(false),
            log_destroy: Cell::new(true),
            must_cancel: Cell::new(false),
            cancels: Cell::new(0),
            waiter: Slot::empty(),
            throw: Slot::empty(),
            result: Slot::empty(),
            exception: Slot::empty(),
            traceback: Slot::empty(),
            cancel_message: Slot::empty(),
            cancelled_error: Slot::empty(),
            source_traceback: Slot::empty(),
            registration: Slot::empty(),
            callbacks: Callbacks::empty(),
            owner: Owner(UnsafeCell::new(Some(driven))),
        }
    }

    /// Makes an ended and cleared task a new one.
    pub(super) fn renew(
        &self,
        event_loop: Py<PyAny>,
        coro: Py<PyAny>,
        context: Py<PyAny>,
        name: Option<Py<PyString>>,
        driven: Driven,
    ) {
        self.event_loop.put(Some(event_loop));
        self.coro.put(Some(coro));
        self.context.put(Some(context));
        self.name.put(name);
        self.status.set(Status::Pending);
        self.blocking.set(false);
        self.log_destroy.set(true);
        self.must_cancel.set(false);
        self.cancels.set(0);
        self.owner.put(driven);
    }

    #[inline]
    pub(super) fn is_pending(&self) -> bool {
        self.status.get() == Status::Pending
    }

    /// The references the garbage collector has to know.
    fn slots(&self) -> [&Slot; 12] {
        [
            &self.event_loop,
            &self.coro,
            &self.context,
            &self.waiter,
            &self.throw,
            &self.result,
            &self.exception,
            &self.traceback,
            &self.cancel_message,
            &self.cancelled_error,
            &self.source_traceback,
            &self.registration,
        ]
    }

    pub(super) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        for slot in self.slots() {
            slot.visit(visit)?;
        }
        self.callbacks.visit(visit)
    }

    /// Drops every reference but the name; the status and the owner stay.
    pub(super) fn clear(&self) {
        self.log_destroy.set(false);
        for slot in self.slots() {
            slot.put(None);
        }
        drop(self.callbacks.take());
    }
}
