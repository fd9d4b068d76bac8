//! Starting calls: from a job to a coroutine that is being driven, or to its outcome at once.
//!
//! Invariant: a job that leaves the backlog ends in exactly one of: settled before, an immediate
//! outcome, or a driven coroutine.

use std::ptr;
use std::sync::atomic::Ordering;

use gilscope_instrument::{Flags, Name, OpenCall, Status, clock};
use pyo3::exceptions::{PyRuntimeError, PyTypeError};
use pyo3::ffi;
use pyo3::prelude::*;

use super::context::Entered;
use super::state::{LoopState, Ready};
use crate::call::job::is_end_of_stream;
use crate::call::{Driven, PyAsyncFunResult};
use crate::driver::{self, Start};
use crate::host::JobRef;
use crate::host::table::{self as t, Report};
use crate::python::names::name;

impl LoopState {
    /// Starts what is queued, as far as `max_in_flight` allows.
    pub(crate) fn start_calls(&self, py: Python<'_>) {
        let limit = self.shared.config.max_in_flight.unwrap_or(usize::MAX);
        let room = &self.shared.room;
        let mut served = 0; // ticks: the first time is always late
        loop {
            let (job, index, waited) = {
                let mut calls = self.shared.calls();
                if calls.open.len() >= limit {
                    break;
                }
                let Some(job) = calls.backlog.pop_front() else {
                    break;
                };
                let index = calls.open.insert(job.clone());
                // Before its first step, which may take long; under the lock, so that nobody
                // counts the call as queued and as open.
                (job, index, room.put_back())
            };
            if waited && super::flush::is_late(served) {
                // Wakers are user code.
                self.detached(py, |state| state.shared.room.serve());
                served = clock::now();
            } else if waited {
                // Not each call is worth giving the GIL up for; but its step may take long.
                self.shared.serve_later();
            }
            self.start_call(py, job, index);
            self.flush_if_late();
        }
        if room.owes() {
            self.detached(py, |state| state.shared.room.serve());
        }
    }

    fn start_call(&self, py: Python<'_>, job: JobRef, index: usize) {
        let raw = job.raw();
        let call = self.recorder.open(&raw.stamps, Name(raw.name));
        self.tell_maker(&job, call);
        if let Some(state) = raw.tracestate() {
            self.tracestates.insert(call.0, state.into());
        }
        let state = raw.state.load(Ordering::Acquire);
        if state & t::SETTLED == 0 && state & t::CANCEL != 0 {
            job.fail(t::END_CANCELLED_BY_CALLER, 0);
        }
        if state & (t::SETTLED | t::CANCEL) != 0 {
            let status = super::stop::status_without_end(&job);
            if status == Status::Deadline {
                self.record_deadline(call, &job);
            }
            self.finish(index, job, call, status, Flags::default());
            return;
        }
        raw.slot.store(index as u32 + 1, Ordering::Relaxed);
        raw.phase.store(t::PHASE_POLL, Ordering::Relaxed);
        self.with_slot(index, |slot| {
            *slot = super::state::Slot {
                call,
                ..Default::default()
            };
        });
        self.recorder.poll_start(call);
        if let Err(error) = self.call_and_drive(py, &job, index, call) {
            self.recorder.poll_end(call);
            self.fail_start(
                py,
                job,
                index,
                call,
                &error.into_value(py).into_bound(py).into_any(),
            );
        }
    }

    /// Calls the function in the call's context. `Err` is what the callee raised.
    fn call_and_drive(
        &self,
        py: Python<'_>,
        job: &JobRef,
        index: usize,
        call: OpenCall,
    ) -> PyResult<()> {
        let raw = job.raw();
        let context = self.context_of(py, raw)?;
        if raw.flags & t::JOB_IN_CONTEXT != 0 {
            self.with_slot(index, |slot| slot.context = Some(context.clone().unbind()));
        }
        let context = Entered::new(context)?;
        if crate::trace::concerns(raw)
            && let Some(span) = crate::trace::enter(py, raw)
        {
            self.spans.borrow_mut().insert(index, span);
        }
        let (mut error, mut report) = (ptr::null_mut(), Report::default());
        // SAFETY: the job is live and is started once; the out pointers outlive the call.
        let object = unsafe { (job.vtable().start)(job.as_ptr(), &raw mut error, &raw mut report) };
        // SAFETY: both are new references or NULL.
        let (object, error) = unsafe {
            (
                Bound::from_owned_ptr_or_opt(py, object),
                Bound::from_owned_ptr_or_opt(py, error),
            )
        };
        super::inherited::check_after(py, || error.clone());
        if let Some(error) = error {
            return Err(PyErr::from_value(error));
        }
        let Some(object) = object else {
            drop(context);
            self.recorder.poll_end(call);
            self.finish_report(index, job.clone(), call, report, Flags::default());
            return Ok(());
        };
        match self.classify(py, object, raw.flags)? {
            PyAsyncFunResult::Future(coroutine) => {
                self.drive(py, job, index, call, coroutine.into_bound(py), context)
            }
            PyAsyncFunResult::Immediate(value) => {
                drop(context);
                self.recorder.poll_end(call);
                let report = self.complete(index, job, t::END_RETURNED, value.bind(py));
                drop(value);
                self.finish_report(index, job.clone(), call, report, Flags::IMMEDIATE);
                Ok(())
            }
        }
    }

    fn context_of<'py>(&self, py: Python<'py>, raw: &t::RawJob) -> PyResult<Bound<'py, PyAny>> {
        if raw.context.is_null() {
            // SAFETY: the base context is a Context; the call returns a new reference or NULL.
            return unsafe {
                Bound::from_owned_ptr_or_err(py, ffi::PyContext_Copy(self.base_context.as_ptr()))
            };
        }
        // SAFETY: the job keeps its context alive.
        Ok(unsafe { Bound::from_borrowed_ptr(py, raw.context) })
    }

    /// What a function returned: something to drive, or a value.
    fn classify(
        &self,
        py: Python<'_>,
        object: Bound<'_, PyAny>,
        flags: u32,
    ) -> PyResult<PyAsyncFunResult> {
        // SAFETY: a type check of a live object.
        if unsafe { ffi::PyCoro_CheckExact(object.as_ptr()) } != 0 {
            if object.getattr(name!(py, c"cr_suspended"))?.is_truthy()? {
                return Err(PyRuntimeError::new_err(
                    "coroutine is being awaited already",
                ));
            }
            return Ok(PyAsyncFunResult::Future(object.unbind()));
        }
        if flags & t::JOB_STREAM != 0 {
            return Ok(PyAsyncFunResult::Immediate(object.unbind()));
        }
        match self
            .helpers
            .classify
            .call1(py, (&object,))?
            .extract::<u8>(py)?
        {
            0 => Ok(PyAsyncFunResult::Immediate(object.unbind())),
            1 => Ok(PyAsyncFunResult::Future(
                self.helpers.await_any.call1(py, (object,))?,
            )),
            _ => Err(PyTypeError::new_err(format!(
                "{} is an async iterator, not an awaitable: use the streaming call (stream)",
                object.get_type().name()?
            ))),
        }
    }

    fn drive(
        &self,
        py: Python<'_>,
        job: &JobRef,
        index: usize,
        call: OpenCall,
        coroutine: Bound<'_, PyAny>,
        context: Entered<'_>,
    ) -> PyResult<()> {
        let driven = Driven::new(self.shared.id, job, index, call);
        let start = Start {
            event_loop: self.event_loop.bind(py),
            coro: coroutine,
            context,
            shared: job.raw().flags & t::JOB_SHARES_CONTEXT != 0,
            name: None,
            driven,
            debug: self.debug,
            spare: &self.spare,
        };
        match driver::start(start) {
            Ok(None) => {}
            Ok(Some(task)) => self.with_slot(index, |slot| slot.task = Some(task)),
            // The driver consumed `driven`, whose drop has settled the call.
            Err(error) => error.write_unraisable(py, None),
        }
        Ok(())
    }

    fn fail_start(
        &self,
        py: Python<'_>,
        job: JobRef,
        index: usize,
        call: OpenCall,
        error: &Bound<'_, PyAny>,
    ) {
        let end = self.end_of_exception(py, index, error);
        self.record_error(call, &job, error);
        let report = self.complete(index, &job, end, error);
        self.finish_report(index, job, call, report, Flags::default());
    }

    /// The kind of end an exception stands for.
    pub(crate) fn end_of_exception(
        &self,
        py: Python<'_>,
        index: usize,
        error: &Bound<'_, PyAny>,
    ) -> u32 {
        let cancelled = crate::python::imports::cancelled_error(py);
        match error.is_instance(cancelled) {
            Ok(true) => self.end_of_cancel(index),
            _ => t::END_RAISED,
        }
    }

    /// Settles a job with a Python object, in the call's context if user code runs then.
    pub(crate) fn complete(
        &self,
        index: usize,
        job: &JobRef,
        end: u32,
        value: &Bound<'_, PyAny>,
    ) -> Report {
        let context = self.with_slot(index, |slot| slot.context.take());
        let context = context.map(|context| context.into_bound(value.py()));
        // Refused where the step that ended the call runs in it already.
        let _entered = context.and_then(|context| Entered::new(context).ok());
        // SAFETY: the job is live, and the value outlives the call.
        unsafe { (job.vtable().complete)(job.as_ptr(), end, value.as_ptr()) }
    }

    /// Writes the exception's text to the call's span, unless it is how a stream ends.
    pub(crate) fn record_error(&self, call: OpenCall, job: &JobRef, error: &Bound<'_, PyAny>) {
        if call != OpenCall::default() && !is_end_of_stream(job.raw().flags, error) {
            let text = crate::python::text::render(error, false);
            let stack = crate::python::stack::exported(error);
            self.recorder
                .error(call, &text.type_name, &text.message, &stack);
        }
    }

    /// Writes to the call's span where its deadline met it.
    pub(crate) fn record_deadline(&self, call: OpenCall, job: &JobRef) {
        if call != OpenCall::default() {
            let text = super::stop::deadline_text(job);
            self.recorder.error(call, "DeadlineExceeded", &text, "");
        }
    }

    /// The call's Python side is over, with what settling it reported.
    pub(crate) fn finish_report(
        &self,
        index: usize,
        job: JobRef,
        call: OpenCall,
        report: Report,
        flags: Flags,
    ) {
        if job.has(t::DEADLINE) {
            // Whatever it came to afterwards: its caller was told this.
            self.record_deadline(call, &job);
            self.finish(index, job, call, Status::Deadline, flags);
        } else {
            let status = status_of(report.status);
            self.finish(index, job, call, status, flags | Flags(report.flags));
        }
    }

    /// The call's Python side is over: frees its slot and queues the outcome for delivery.
    pub(crate) fn finish(
        &self,
        index: usize,
        job: JobRef,
        call: OpenCall,
        status: Status,
        flags: Flags,
    ) {
        // A cancel that comes later must not find who has the index next.
        job.raw().slot.store(0, Ordering::Relaxed);
        let attached = job.raw().flags & t::JOB_ATTACHED != 0;
        let removed = {
            let mut calls = self.shared.calls();
            let removed = calls.open.try_remove(index);
            if attached {
                removed
            } else {
                // From now on whoever cannot wait for this thread finds it there.
                calls.ready.push(removed.unwrap_or_else(|| job.clone()));
                None
            }
        };
        drop(removed);
        let task = self.with_slot(index, std::mem::take);
        drop(task);
        self.end_span(index, call);
        let mut flags = flags;
        if job.has(t::CALLER_DROPPED) {
            flags = flags | Flags::CALLER_DROPPED;
        }
        if job.has(t::DETACHED) {
            flags = flags | Flags::DETACHED;
        }
        self.finished.set(true);
        if attached {
            // Handed over already; closed while the GIL still keeps its receiver from looking.
            self.count(flags);
            self.recorder.close(call, status, flags);
            return;
        }
        if self.oldest.get() == 0 {
            self.oldest.set(gilscope_instrument::clock::now());
        }
        self.outbox.borrow_mut().push(Ready {
            call,
            status,
            flags,
        });
    }
}

impl LoopState {
    /// Records what Python code said of a call's span, and its tracestate.
    #[inline]
    fn end_span(&self, index: usize, call: OpenCall) {
        let state = self.tracestates.end(call.0);
        if self.spans.borrow().is_empty() && state.is_none() {
            return;
        }
        let span = self.spans.borrow_mut().remove(&index);
        if let Some(notes) = span.and_then(|span| span.get().end()).or(state) {
            self.recorder.notes(call, notes);
        }
    }
}

/// The status a job reported by number.
fn status_of(status: u8) -> Status {
    Status::ALL
        .get(status as usize)
        .copied()
        .unwrap_or(Status::Error)
}
