//! Handing outcomes over, in batches, detached.
//!
//! Invariant: wakers and closures run while the GIL is free, in the order in which outcomes became
//! ready, each exactly once.

use gilscope_instrument::{Flags, clock};
use pyo3::prelude::*;

use super::state::{LoopState, Ready, current};
use crate::attached::SameThread;
use crate::host::JobRef;
use crate::host::table as t;

/// How long an outcome may wait for others to be delivered with, in nanoseconds: longer than a full
/// queue of calls that end at once takes, since splitting such a batch costs switches and gains nothing.
pub(super) const LATE_NS: u64 = 2_000_000;

/// Whether what began at `since`, in ticks, has waited long enough for others to come along.
pub(super) fn is_late(since: u64) -> bool {
    clock::delta_ns(clock::now().saturating_sub(since)) > LATE_NS
}

/// Lets the loop call [`LoopState::flush`]; for loops whose selector is not ours.
#[pyclass(frozen, module = "gilscope._native")]
pub(crate) struct Flush;

// No guard: called on the loop's thread, which carries one all its life.
#[pymethods]
impl Flush {
    fn __call__(&self, py: Python<'_>) {
        super::inherited::check(py);
        if let Some(state) = current() {
            state.flush_scheduled.set(false);
            state.flush(py);
        }
    }
}

impl LoopState {
    /// Delivers what is ready, detached for the time it takes.
    pub(crate) fn flush(&self, py: Python<'_>) {
        if self.outbox.borrow().is_empty() {
            self.after_flush(py);
            return;
        }
        self.detached(py, Self::deliver_ready);
        self.after_flush(py);
    }

    /// Runs what may run user code that must not have the GIL; one turn ends and the next begins.
    pub(super) fn detached(&self, py: Python<'_>, work: impl FnOnce(&Self)) {
        crate::watchdog::name_threads(py); // before whoever waited looks at what was found
        self.recorder.turn_end();
        let here = SameThread((self, work));
        py.detach(move || {
            let (state, work) = here.get();
            work(state);
            // As in the loop's wait.
            state.recorder.returned(clock::now());
        });
        self.recorder.attached();
        crate::watchdog::name_threads(py);
    }

    /// Delivers what is ready if the oldest outcome has waited long enough: the polls of other calls
    /// and tasks, which may each take milliseconds, must not hold it up until the turn's end. Asked
    /// before each of them, and after each call's end. Attached.
    #[inline]
    pub(crate) fn flush_if_late(&self) {
        let oldest = self.oldest.get();
        if oldest != 0 && is_late(oldest) {
            Python::attach(|py| self.flush(py));
        }
    }

    /// Delivers what is ready. Detached.
    ///
    /// In two passes: all outcomes are stored and their calls' spans closed before the first waker
    /// runs, because a woken thread may take this one's processor and should find the whole batch.
    pub(crate) fn deliver_ready(&self) {
        self.oldest.set(0);
        loop {
            let mut batch = std::mem::take(&mut *self.outbox.borrow_mut());
            if batch.is_empty() {
                return;
            }
            let mut jobs = self.delivered.take();
            std::mem::swap(&mut jobs, &mut self.shared.calls().ready);
            let mut batch_of = batch.drain(..);
            jobs.retain(|job| batch_of.next().is_some_and(|it| self.deliver(job, &it)));
            drop(batch_of);
            self.shared.wakes.wake(jobs.drain(..));
            self.delivered.replace(jobs);
            let mut outbox = self.outbox.borrow_mut();
            if outbox.is_empty() {
                // Keeps the allocation for the next batch.
                *outbox = batch;
                return;
            }
        }
    }

    /// True: the receiver is to be woken.
    fn deliver(&self, job: &JobRef, ready: &Ready) -> bool {
        // SAFETY: the job is live and was settled by this thread, or by somebody else, in which
        // case there is nothing to hand over and the report is empty.
        let report = unsafe { (job.vtable().deliver)(job.as_ptr()) };
        let mut flags = ready.flags | Flags(report.flags);
        if flags.contains(Flags::UNDELIVERED) && job.raw().flags & t::JOB_DETACH != 0 {
            flags = flags | Flags::DETACHED;
        }
        self.count(flags);
        self.recorder.close(ready.call, ready.status, flags);
        report.status == t::TO_WAKE
    }

    pub(crate) fn count(&self, flags: Flags) {
        let counters = &self.shared.counters;
        let add = |flag, counter: &std::sync::atomic::AtomicU64| {
            if flags.contains(flag) {
                counter.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            }
        };
        add(Flags::UNDELIVERED, &counters.undelivered);
        add(Flags::CALLBACK_FAILED, &counters.callback_failed);
    }

    /// Outcomes became ready outside a drain: make sure that they leave soon.
    pub(crate) fn flush_soon(&self, py: Python<'_>) {
        if self.draining.get() || self.own_selector.get() || self.flush_scheduled.replace(true) {
            return;
        }
        let scheduled = Py::new(py, Flush).and_then(|flush| self.schedule(py, flush.as_any()));
        if let Err(error) = scheduled {
            error.write_unraisable(py, None);
        }
    }

    /// Room may have come free, or the last call of a shutdown may be over.
    fn after_flush(&self, py: Python<'_>) {
        if self.draining.get() || !self.finished.replace(false) || !self.wants_drain() {
            return;
        }
        if let Err(error) = self.schedule(py, &self.helpers.drain) {
            error.write_unraisable(py, None);
        }
    }

    /// Whether the end of a call lets something go on: a queued call, or a shutdown.
    pub(crate) fn wants_drain(&self) -> bool {
        self.is_ending() || !self.shared.calls().backlog.is_empty()
    }
}
