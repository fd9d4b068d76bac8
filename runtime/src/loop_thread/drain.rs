//! Taking messages: the callback of the inbox's bell.
//!
//! Invariant: a drain ends asleep (the next push rings) or scheduled again; it is never entered twice.

use pyo3::prelude::*;

use super::shared::dispose;
use super::state::{CancelReason, LoopState, current};
use crate::host::JobRef;
use crate::host::table as t;
use crate::python::names::name;
use crate::queue::stack::Link;

/// How often one drain looks again before it lets the loop run other things.
const ROUNDS: u32 = 32;

/// The callable registered with the loop for the inbox's bell.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Drain;

// No guard: called on the loop's thread, which carries one all its life.
#[pymethods]
impl Drain {
    fn __call__(&self, py: Python<'_>) -> PyResult<()> {
        super::inherited::check(py);
        current().map_or(Ok(()), |state| state.drain(py))
    }
}

impl LoopState {
    pub(crate) fn drain(&self, py: Python<'_>) -> PyResult<()> {
        if self.draining.replace(true) {
            return Ok(());
        }
        let drained = self.drain_rounds(py);
        self.draining.set(false);
        drained?;
        self.end_if_idle(py)
    }

    fn drain_rounds(&self, py: Python<'_>) -> PyResult<()> {
        if !self.own_selector.get() {
            self.shared.inbox.bell().clear();
        }
        for _ in 0..ROUNDS {
            self.take_messages(py);
            self.start_calls(py);
            crate::handle::release::drain(py);
            self.flush(py);
            if self.shared.inbox.try_sleep() {
                return Ok(());
            }
        }
        self.schedule(py, &self.helpers.drain)
    }

    pub(crate) fn schedule(&self, py: Python<'_>, callback: &Py<PyAny>) -> PyResult<()> {
        self.event_loop
            .call_method1(py, name!(py, c"call_soon"), (callback,))?;
        Ok(())
    }

    fn take_messages(&self, py: Python<'_>) {
        for link in self.shared.inbox.take() {
            // SAFETY: the message came out of the inbox, so it is live and ours.
            unsafe { self.take_message(py, link) };
        }
    }

    /// A job is queued, anything else is done at once.
    ///
    /// # Safety
    /// The message is live and passes to the loop thread.
    pub(crate) unsafe fn take_message(&self, py: Python<'_>, link: *mut Link) {
        // SAFETY: see above.
        match unsafe { (*link.cast::<t::Message>()).kind } {
            t::MESSAGE_JOB => {
                // SAFETY: its kind says what it is; the queue's reference is ours now.
                let job = unsafe { JobRef::from_raw(link.cast()) };
                self.shared.calls().backlog.push_back(job);
            }
            t::MESSAGE_CANCEL => self.take_cancel(py, link),
            _ => {
                let post = link.cast::<t::RawPost>();
                // SAFETY: its kind says what it is; `run` is called once, attached.
                unsafe { ((*post).run)(post) };
            }
        }
    }

    fn take_cancel(&self, py: Python<'_>, link: *mut Link) {
        // SAFETY: its kind says what it is.
        let raw = unsafe { (*link.cast::<t::RawCancel>()).job };
        // SAFETY: the message holds a reference until it is disposed of below.
        let slot = unsafe { (*raw).slot.load(std::sync::atomic::Ordering::Relaxed) };
        if slot != 0 {
            self.cancel_slot(py, slot as usize - 1, CancelReason::Caller);
            dispose(link, t::END_CANCELLED_BY_CALLER, 0);
            return;
        }
        // SAFETY: the message's reference becomes ours for the moment.
        let job = std::mem::ManuallyDrop::new(unsafe { JobRef::from_raw(raw) });
        // Still queued: the body never runs. The call leaves the backlog when its turn comes.
        job.fail(t::END_CANCELLED_BY_CALLER, 0);
        dispose(link, t::END_CANCELLED_BY_CALLER, 0);
    }

    /// Asks a running call's task to stop at its await.
    pub(crate) fn cancel_slot(&self, py: Python<'_>, index: usize, reason: CancelReason) {
        let task = self.with_slot(index, |slot| {
            slot.cancel.get_or_insert(reason);
            slot.task.as_ref().map(|task| task.clone_ref(py))
        });
        let Some(task) = task else { return };
        if let Some(job) = self.shared.calls().open.get(index) {
            job.raw()
                .phase
                .store(t::PHASE_CLEANUP, std::sync::atomic::Ordering::Relaxed);
        }
        if let Err(error) = crate::driver::Task::cancel(task.bind(py), None) {
            error.write_unraisable(py, Some(task.bind(py).as_any()));
        }
    }
}
