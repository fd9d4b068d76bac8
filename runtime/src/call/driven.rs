//! What the driver tells about the call it drives: its polls, where it waits, and its end.
//!
//! Invariant: the end is told exactly once; a `Driven` that is dropped untold settles its call itself.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use gilscope_instrument::{Flags, OpenCall};
use pyo3::exceptions::{PyBaseException, PyRuntimeError};
use pyo3::ffi;
use pyo3::prelude::*;

use crate::host::JobRef;
use crate::host::table as t;
use crate::loop_thread::state::{LoopState, current};
use crate::python::names::name;
use crate::python::whose::is_ours;

/// How a task ended.
pub(crate) enum TaskEnd {
    Returned(Py<PyAny>),
    /// The exception, with its traceback.
    Raised(Py<PyAny>),
    /// The `CancelledError`.
    Cancelled(Py<PyAny>),
}

/// The call of one task. Lives and dies on the loop thread, apart from a task that outlives its loop.
pub(crate) struct Driven {
    /// Taken by `done`.
    job: Option<JobRef>,
    /// The runtime whose loop drives it.
    runtime: u64,
    index: usize,
    call: OpenCall,
    /// The dispatch has opened the first poll already, so that it includes calling the function.
    in_first_poll: Cell<bool>,
}

impl Driven {
    pub(crate) fn new(runtime: u64, job: &JobRef, index: usize, call: OpenCall) -> Self {
        Self {
            job: Some(job.clone()),
            runtime,
            index,
            call,
            in_first_poll: Cell::new(true),
        }
    }

    /// The state of our loop, if this is its thread: a task may be destroyed on another.
    fn state(&self) -> Option<&'static LoopState> {
        current().filter(|state| state.shared.id == self.runtime)
    }

    fn phase(&self, phase: u32) {
        if let Some(job) = &self.job
            && job.raw().phase.load(Ordering::Relaxed) != t::PHASE_CLEANUP
        {
            job.raw().phase.store(phase, Ordering::Relaxed);
        }
    }

    /// Around every send or throw.
    #[inline]
    pub(crate) fn poll_start(&self) {
        if self.in_first_poll.replace(false) {
            return;
        }
        self.phase(t::PHASE_POLL);
        if let Some(state) = self.state() {
            state.flush_if_late();
            state.recorder.poll_start(self.call);
        }
    }

    /// Around every send or throw.
    #[inline]
    pub(crate) fn poll_end(&self) {
        if let Some(state) = self.state() {
            state.recorder.poll_end(self.call);
        }
    }

    /// After `poll_end`, when the coroutine yielded.
    #[inline]
    pub(crate) fn suspended(&self, _py: Python<'_>, coroutine: &Bound<'_, PyAny>) {
        self.phase(t::PHASE_SUSPENDED);
        if self.call != OpenCall::default()
            && let Some(state) = self.state()
        {
            state
                .recorder
                .suspended(self.call, crate::python::place::awaiting(coroutine));
            if gilscope_instrument::tree::wanted() {
                let chain = crate::python::place::chain(coroutine);
                state.recorder.awaits(self.call, chain);
            }
        }
    }

    /// The next step was scheduled.
    #[inline]
    pub(crate) fn woken(&self) {
        if let Some(state) = self.state() {
            state.recorder.woken(self.call);
        }
    }

    /// The task ended.
    pub(crate) fn done(mut self, py: Python<'_>, end: TaskEnd) {
        if self.in_first_poll.replace(false) {
            // The driver could not even begin: end the poll that the dispatch has opened.
            self.poll_end();
        }
        if let Some(job) = self.job.take() {
            match self.state() {
                Some(state) => end_call(state, py, self.index, self.call, job, end),
                // The loop has gone, and with it everybody who could wait for this call.
                None => {
                    job.fail(t::END_STOPPED, crate::error::Stopped::LoopClosed as u32);
                }
            }
        }
    }
}

impl Drop for Driven {
    fn drop(&mut self) {
        let Some(job) = self.job.take() else { return };
        let Some(state) = self.state() else {
            job.fail(t::END_STOPPED, crate::error::Stopped::LoopClosed as u32);
            return;
        };
        Python::attach(|py| {
            let error = PyRuntimeError::new_err("the task of this call was destroyed");
            let end = TaskEnd::Raised(error.into_value(py).into_any());
            end_call(state, py, self.index, self.call, job, end);
        });
    }
}

fn end_call(
    state: &LoopState,
    py: Python<'_>,
    index: usize,
    call: OpenCall,
    job: JobRef,
    end: TaskEnd,
) {
    let (kind, value) = match end {
        TaskEnd::Returned(value) => (t::END_RETURNED, value),
        TaskEnd::Raised(error) => (t::END_RAISED, error),
        TaskEnd::Cancelled(error) => (state.end_of_cancel(index), error),
    };
    let mut flags = Flags::default();
    let cancelled = state.with_slot(index, |slot| slot.cancel.is_some());
    if kind == t::END_RETURNED && cancelled {
        flags = Flags::CANCEL_SWALLOWED;
    }
    if kind == t::END_RAISED {
        strip(value.bind(py));
        state.record_error(call, &job, value.bind(py));
    }
    let report = state.complete(index, &job, kind, value.bind(py));
    drop(value);
    state.finish_report(index, job, call, report, flags);
    state.flush_if_late();
    state.flush_soon(py);
}

/// Takes our own frames from the outside of a traceback: an exception object that is raised again and
/// again would gain one each time.
fn strip(exception: &Bound<'_, PyAny>) {
    let py = exception.py();
    let Ok(raised) = exception.cast::<PyBaseException>() else {
        return;
    };
    // SAFETY: an exception; a new reference, or NULL where it has no traceback.
    let first = unsafe {
        let trace = ffi::PyException_GetTraceback(raised.as_ptr());
        Bound::from_owned_ptr_or_opt(py, trace)
    };
    let mut trace = first.clone();
    while let Some(outermost) = trace.as_ref().filter(|trace| runs_ours(trace)) {
        trace = outermost
            .getattr(name!(py, c"tb_next"))
            .ok()
            .filter(|next| !next.is_none());
    }
    let at = |trace: &Option<Bound<'_, PyAny>>| trace.as_ref().map(Bound::as_ptr);
    if at(&trace) != at(&first) {
        let left = trace.unwrap_or_else(|| py.None().into_bound(py));
        // SAFETY: an exception, and a traceback or None.
        unsafe { ffi::PyException_SetTraceback(raised.as_ptr(), left.as_ptr()) };
    }
}

fn runs_ours(trace: &Bound<'_, PyAny>) -> bool {
    let frame = trace.getattr(name!(trace.py(), c"tb_frame"));
    frame.and_then(|frame| is_ours(&frame)).unwrap_or(false)
}
