//! Shutdown as the loop thread sees it.
//!
//! Invariant: modes only ever get stricter; the root task ends once nothing is queued or open.

use std::sync::atomic::Ordering;
use std::time::Duration;

use gilscope_instrument::{GivenUp, Name, Status};
use pyo3::prelude::*;

use super::state::{CancelReason, LoopState, Stop};
use crate::error::Stopped;
use crate::host::JobRef;
use crate::host::table as t;
use crate::life::shutdown::ShutdownMode;

impl LoopState {
    pub(crate) fn begin_shutdown(&self, py: Python<'_>, mode: ShutdownMode) {
        let mode = match mode {
            ShutdownMode::Drain => Stop::Drain,
            ShutdownMode::Cancel => Stop::Cancel,
            ShutdownMode::Abort => Stop::Abort,
        };
        if self.stop.get() >= mode {
            return;
        }
        self.stop.set(mode);
        if mode >= Stop::Cancel {
            self.refuse_queued();
            if mode == Stop::Abort {
                self.free_open_callers();
            }
            self.cancel_open(py);
        }
        if !self.draining.get()
            && let Err(error) = self.end_if_idle(py)
        {
            error.write_unraisable(py, None);
        }
    }

    fn refuse_queued(&self) {
        let backlog = std::mem::take(&mut self.shared.calls().backlog);
        for job in backlog {
            let _ = self.shared.room.put_back(); // closed: nobody waits
            job.fail(t::END_STOPPED, Stopped::Shutdown as u32);
            let raw = job.raw();
            let call = self
                .recorder
                .open(&raw.stamps, gilscope_instrument::Name(raw.name));
            if job.has(t::DEADLINE) {
                self.record_deadline(call, &job);
            }
            self.recorder
                .close(call, status_without_end(&job), Default::default());
        }
    }

    fn free_open_callers(&self) {
        let open: Vec<_> = self
            .shared
            .calls()
            .open
            .iter()
            .map(|(_, job)| job.clone())
            .collect();
        for job in open {
            job.fail(t::END_STOPPED, Stopped::Shutdown as u32);
        }
    }

    pub(crate) fn cancel_open(&self, py: Python<'_>) {
        let open: Vec<usize> = self
            .shared
            .calls()
            .open
            .iter()
            .map(|(index, _)| index)
            .collect();
        for index in open {
            self.cancel_slot(py, index, CancelReason::Shutdown);
        }
    }

    /// Closes the spans of calls that did not end before the loop did.
    pub(crate) fn close_calls(&self) {
        let open: Vec<_> = {
            let calls = self.shared.calls();
            calls
                .open
                .iter()
                .map(|(index, job)| (index, job.clone()))
                .collect()
        };
        for (index, job) in open {
            let call = self.with_slot(index, |slot| {
                if let Some(task) = &slot.task {
                    task.get().give_up();
                }
                std::mem::take(&mut slot.call)
            });
            if job.has(t::DEADLINE) {
                self.record_deadline(call, &job);
            }
            self.recorder
                .close(call, status_without_end(&job), Default::default());
        }
    }

    pub(crate) fn is_ending(&self) -> bool {
        self.stop.get() != Stop::No
    }

    /// Which end a `CancelledError` stands for, by who asked for it.
    pub(crate) fn end_of_cancel(&self, index: usize) -> u32 {
        match self.with_slot(index, |slot| slot.cancel) {
            Some(CancelReason::Caller) => t::END_CANCELLED_BY_CALLER,
            Some(CancelReason::Shutdown) => t::END_CANCELLED_BY_SHUTDOWN,
            None => t::END_CANCELLED_BY_CALLEE,
        }
    }

    /// Ends the root task if a shutdown waits for nothing more.
    pub(crate) fn end_if_idle(&self, py: Python<'_>) -> PyResult<()> {
        if self.stop.get() == Stop::No {
            return Ok(());
        }
        if self.stop.get() >= Stop::Cancel {
            self.refuse_queued();
        }
        let idle = {
            let calls = self.shared.calls();
            calls.backlog.is_empty() && calls.open.is_empty() && self.shared.inbox.is_empty()
        };
        if (idle && self.outbox.borrow().is_empty()) || self.stop.get() == Stop::Abort {
            let stopped = self.helpers.stopped.bind(py);
            if !stopped.call_method0("done")?.is_truthy()? {
                stopped.call_method1("set_result", (py.None(),))?;
            }
        }
        Ok(())
    }
}

/// How a call that is open on a loop which was given up has ended for everybody else.
pub(crate) fn given_up(job: &JobRef) -> GivenUp {
    let late = job.has(t::DEADLINE).then(|| deadline_text(job));
    GivenUp {
        id: job.raw().stamps.id,
        status: status_without_end(job),
        error: late.map(|text| ("DeadlineExceeded", text)),
    }
}

/// What the error of a call says whose deadline has passed.
pub(crate) fn deadline_text(job: &JobRef) -> String {
    let bits = job.raw().state.load(Ordering::Acquire);
    let place = crate::call::job::place(bits >> t::DEADLINE_PHASE_SHIFT & 0xff);
    let error = crate::error::Error::DeadlineExceeded {
        place,
        name: Name(job.raw().name),
        deadline: Duration::from_nanos(job.raw().deadline),
    };
    error.to_string()
}

/// How a call ended whose coroutine did not.
pub(crate) fn status_without_end(job: &JobRef) -> Status {
    if job.has(t::DEADLINE) {
        Status::Deadline
    } else if job.has(t::CANCEL) {
        Status::CancelledByCaller
    } else {
        Status::Stopped
    }
}
