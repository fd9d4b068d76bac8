//! What only the loop thread touches.
//!
//! Invariant: a `LoopState` never leaves its thread, so cells suffice; no cell is borrowed across a
//! call into Python or into user code.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use gilscope_instrument::{Flags, LoopRecorder, OpenCall, Status};
use pyo3::ffi;
use pyo3::prelude::*;

use super::shared::Shared;
use crate::driver::{Spare, Task};
use crate::host::JobRef;
use crate::trace::call_span::CallSpan;

/// See the module's text.
pub(crate) struct LoopState {
    pub(crate) shared: Arc<Shared>,
    pub(crate) recorder: LoopRecorder,
    pub(crate) event_loop: Py<PyAny>,
    /// Copied for each call of a Rust caller.
    pub(crate) base_context: Py<PyAny>,
    pub(crate) helpers: Helpers,
    /// By slot: the task of a started call and who asked to cancel it.
    pub(crate) tasks: RefCell<Vec<Slot>>,
    /// By slot, and only where Python code may say something of it: the span of a started call.
    pub(crate) spans: RefCell<HashMap<usize, Py<CallSpan>>>,
    /// Of open calls and tasks.
    pub(crate) tracestates: super::tracestate::Tracestates,
    pub(crate) children: RefCell<super::child::Children>,
    /// Outcomes that are ready and not handed over.
    pub(crate) outbox: RefCell<Vec<Ready>>,
    /// Between two batches: the empty list that the jobs of the next are taken into.
    pub(crate) delivered: RefCell<Vec<JobRef>>,
    /// Ticks at which the oldest of them became ready; 0: none.
    pub(crate) oldest: Cell<u64>,
    /// A call ended since the loop last looked whether that lets something go on.
    pub(crate) finished: Cell<bool>,
    pub(crate) draining: Cell<bool>,
    pub(crate) stop: Cell<Stop>,
    /// Whether the selector is ours: exact waits, and outcomes leave when it is entered.
    pub(crate) own_selector: Cell<bool>,
    pub(crate) flush_scheduled: Cell<bool>,
    pub(crate) debug: bool,
    /// Between two calls: the task object of the one before.
    pub(crate) spare: Spare,
}

/// Python objects used at each dispatch.
pub(crate) struct Helpers {
    /// Future whose result ends the root task.
    pub(crate) stopped: Py<PyAny>,
    /// `drain`, to be scheduled again when a round ends with messages left.
    pub(crate) drain: Py<PyAny>,
    /// `async def` that awaits whatever it is given.
    pub(crate) await_any: Py<PyAny>,
    /// Says what a returned object is; see `loop.py`.
    pub(crate) classify: Py<PyAny>,
}

/// The task of a started call.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) task: Option<Py<Task>>,
    pub(crate) cancel: Option<CancelReason>,
    pub(crate) call: OpenCall,
    /// The call's context, kept for a callback that runs in it.
    pub(crate) context: Option<Py<PyAny>>,
}

/// Who asked the loop thread to cancel a running call.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum CancelReason {
    Caller,
    Shutdown,
}

/// What is to be said of an outcome on its way out; its job is in [`Calls::ready`](super::shared::Calls).
pub(crate) struct Ready {
    pub(crate) call: OpenCall,
    pub(crate) status: Status,
    pub(crate) flags: Flags,
}

/// How far shutdown has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stop {
    #[default]
    No,
    Drain,
    Cancel,
    Abort,
}

thread_local! {
    static CURRENT: Cell<Option<NonNull<LoopState>>> = const { Cell::new(None) };
    /// A parent's loop runs on this thread: its state, which is never dropped.
    static INHERITED: Cell<Option<NonNull<LoopState>>> = const { Cell::new(None) };
}

/// Whether there is a thread for which `INHERITED` holds; cheaper to ask.
static ANY_INHERITED: AtomicBool = AtomicBool::new(false);

/// The state of the loop that runs on this thread.
pub(crate) fn current() -> Option<&'static LoopState> {
    // SAFETY: `Current` clears the cell before the state goes away, and the reference cannot leave
    // the thread: `LoopState` is not `Sync`.
    CURRENT.get().map(|state| unsafe { &*state.as_ptr() })
}

/// In a forked child, on the thread that forked: the loop that runs here is the parent's, and its state
/// is never changed again, nor dropped. Only stores.
pub(crate) fn disown() {
    if let Some(state) = CURRENT.replace(None) {
        INHERITED.set(Some(state));
        ANY_INHERITED.store(true, Ordering::Relaxed);
    }
}

/// Whether the loop that runs on this thread is that of a parent of this process.
#[inline]
pub(crate) fn is_inherited() -> bool {
    // One that is current is the child's own: a simulation's.
    ANY_INHERITED.load(Ordering::Relaxed) && INHERITED.get().is_some() && CURRENT.get().is_none()
}

/// The event loop of a parent of this process that runs on this thread.
pub(crate) fn inherited_loop(py: Python<'_>) -> Option<Bound<'_, PyAny>> {
    if !is_inherited() {
        return None;
    }
    // SAFETY: who would drop the state ends first, by `inherited::check`; nothing changes this field.
    INHERITED
        .get()
        .map(|state| unsafe { state.as_ref() }.event_loop.bind(py).clone())
}

/// Makes a state current for as long as it lives.
pub(crate) struct Current(NonNull<LoopState>);

impl Current {
    pub(crate) fn new(state: LoopState) -> Self {
        let state = NonNull::from(Box::leak(Box::new(state)));
        CURRENT.set(Some(state));
        Self(state)
    }

    /// No longer current: the state, for whoever keeps parts of it.
    pub(crate) fn into_state(self) -> LoopState {
        CURRENT.set(None);
        let state = std::mem::ManuallyDrop::new(self).0;
        // SAFETY: leaked by `new`, no longer reachable through the cell, and not dropped by `self`.
        *unsafe { Box::from_raw(state.as_ptr()) }
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(None);
        // SAFETY: leaked by `new`, and no longer reachable through the cell.
        drop(unsafe { Box::from_raw(self.0.as_ptr()) });
    }
}

impl LoopState {
    /// A fresh state for this thread. `own_selector`: outcomes leave without a callback of the loop.
    pub(crate) fn new(
        shared: Arc<Shared>,
        recorder: LoopRecorder,
        event_loop: &Bound<'_, PyAny>,
        helpers: Helpers,
        own_selector: bool,
    ) -> PyResult<Self> {
        let py = event_loop.py();
        // SAFETY: attached; a new reference or NULL with an error set.
        let context = unsafe { Bound::from_owned_ptr_or_err(py, ffi::PyContext_CopyCurrent())? };
        // Of a loop before this one: those calls have been given up.
        let left = std::mem::take(&mut shared.calls().ready);
        drop(left);
        Ok(Self {
            shared,
            recorder,
            event_loop: event_loop.clone().unbind(),
            base_context: context.unbind(),
            helpers,
            tracestates: Default::default(),
            tasks: Default::default(),
            spans: Default::default(),
            children: Default::default(),
            outbox: Default::default(),
            delivered: Default::default(),
            oldest: Default::default(),
            finished: Default::default(),
            draining: Default::default(),
            stop: Default::default(),
            own_selector: own_selector.into(),
            flush_scheduled: Default::default(),
            spare: Spare::default(),
            debug: event_loop.call_method0("get_debug")?.is_truthy()?,
        })
    }

    /// Remembers a started call's task.
    pub(crate) fn with_slot<R>(&self, index: usize, use_it: impl FnOnce(&mut Slot) -> R) -> R {
        let mut tasks = self.tasks.borrow_mut();
        if tasks.len() <= index {
            tasks.resize_with(index + 1, Slot::default);
        }
        use_it(&mut tasks[index])
    }
}
