//! One call: the caller's closures behind the C header that the host sees.
//!
//! Invariant: outcome and callback are touched by [`settle`](super::settle) and on its word only.

use std::cell::UnsafeCell;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use gilscope_instrument::{CallStamps, Flags, Name, Status};
use pyo3::exceptions::PyStopAsyncIteration;
use pyo3::prelude::*;

use crate::attached::detached;
use crate::error::{CancelledBy, Error, Outcome, Place, PythonError, panic_text};
use crate::handle::PyHandle;
use crate::host::JobRef;
use crate::host::table::{self as t, Obj, RawJob, Report};
use crate::queue::stack::Link;

/// What a starter can fail with.
pub(crate) enum StartError {
    /// Converting the arguments raised: the callee never ran.
    Argument(PyErr),
    /// The callee raised before it returned an awaitable.
    Raised(PyErr),
}

/// Converts arguments and calls; runs once, attached, in the call's context.
pub(crate) trait Starter:
    for<'py> FnOnce(Python<'py>) -> Result<Bound<'py, PyAny>, StartError> + Send
{
}
impl<F> Starter for F where
    F: for<'py> FnOnce(Python<'py>) -> Result<Bound<'py, PyAny>, StartError> + Send
{
}

/// Converts a result; runs once, attached.
pub(crate) type Convert<T> = fn(&Bound<'_, PyAny>) -> PyResult<T>;

/// Where an outcome goes. Exactly one of the methods runs, exactly once.
pub(crate) trait Callback<T>: Send {
    /// Whether to hand over attached, on the loop thread, in the call's context.
    const ATTACHED: bool = false;
    /// Whether errors need the text of their traceback.
    const TEXT: bool = true;
    /// Whether handing over only stores the outcome and wakes: then the two are done apart.
    const WAKES: bool = false;

    /// Stores the outcome; dropping the callback then wakes. Only where `WAKES`.
    fn publish(&mut self, _outcome: Outcome<T>) -> Delivered {
        unreachable!("only callbacks that wake are published")
    }

    /// Hands over detached, on any thread. False: nobody was there to receive it.
    fn deliver(self, outcome: Outcome<T>) -> Delivered;

    /// Hands over attached, on the loop thread.
    fn deliver_attached(self, _py: Python<'_>, outcome: Outcome<T>) -> Delivered
    where
        Self: Sized,
    {
        self.deliver(outcome)
    }

    /// Settled while detached although the callback needs the loop thread.
    fn deliver_later(self, outcome: Outcome<T>) -> Delivered
    where
        Self: Sized,
    {
        self.deliver(outcome)
    }
}

/// What became of a hand-over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivered {
    /// Received.
    Yes,
    /// The receiver was gone; counted.
    Nobody,
    /// The callback itself failed; reported and counted.
    Failed,
}

impl Delivered {
    pub(super) fn flags(self) -> Flags {
        match self {
            Self::Yes => Flags::default(),
            Self::Nobody => Flags::UNDELIVERED,
            Self::Failed => Flags::CALLBACK_FAILED,
        }
    }
}

#[repr(C)]
pub(crate) struct Job<S, T, D> {
    pub(super) raw: RawJob,
    start: UnsafeCell<Option<S>>,
    convert: Convert<T>,
    pub(super) outcome: UnsafeCell<Option<Outcome<T>>>,
    pub(super) callback: UnsafeCell<Option<D>>,
    /// As this library interned it; `raw.name` is the host's.
    name: Name,
    /// Not in `raw`: other compilers lay it out differently.
    made_at: Option<&'static Location<'static>>,
    /// Owner of `raw.context`.
    #[allow(dead_code, reason = "held for `raw.context`, which borrows from it")]
    context: Option<PyHandle>,
}

/// The text that `raw.tracestate` points to, in a box of its own: few calls have one.
#[repr(C)]
struct State {
    raw: t::RawText,
    #[allow(dead_code, reason = "held for `raw`, which borrows from it")]
    text: Arc<str>,
}

impl State {
    fn boxed(text: Option<Arc<str>>) -> *const t::RawText {
        let Some(text) = text else {
            return std::ptr::null();
        };
        let raw = t::RawText {
            bytes: text.as_ptr(),
            length: text.len(),
        };
        Box::into_raw(Box::new(State { raw, text })).cast()
    }
}

impl<S, T, D> Drop for Job<S, T, D> {
    fn drop(&mut self) {
        if !self.raw.tracestate.is_null() {
            // SAFETY: made by `State::boxed`, whose `raw` is at offset 0, and dropped once.
            drop(unsafe { Box::from_raw(self.raw.tracestate.cast_mut().cast::<State>()) });
        }
    }
}

/// What a job is made of.
pub(crate) struct Parts<S, T, D> {
    pub(crate) start: S,
    pub(crate) convert: Convert<T>,
    pub(crate) callback: D,
    pub(crate) flags: u32,
    pub(crate) name: Name,
    /// The same, interned by the host.
    pub(crate) host_name: Name,
    /// What an error says that it was.
    pub(crate) deadline: Duration,
    pub(crate) stamps: CallStamps,
    pub(crate) tracestate: Option<Arc<str>>,
    pub(crate) context: Option<PyHandle>,
    /// `None`: in Python.
    pub(crate) made_at: Option<&'static Location<'static>>,
}

impl<S: Starter, T: Send, D: Callback<T>> Job<S, T, D> {
    const VTABLE: t::JobVTable = t::JobVTable {
        size: size_of::<t::JobVTable>() as u32,
        start: Self::start,
        complete: Self::complete,
        deliver: Self::deliver,
        wake: Self::wake,
        fail: Self::fail,
        retain: Self::retain,
        release: Self::release,
        made_at: Self::made_at,
    };

    /// Allocates the job with one reference.
    pub(crate) fn allocate(parts: Parts<S, T, D>) -> JobRef {
        let raw = RawJob {
            message: t::Message {
                link: Link::new(),
                kind: t::MESSAGE_JOB,
            },
            size: size_of::<RawJob>() as u32,
            flags: parts.flags | if D::ATTACHED { t::JOB_ATTACHED } else { 0 },
            vtable: &Self::VTABLE,
            state: AtomicU32::new(0),
            phase: AtomicU32::new(t::PHASE_QUEUED),
            slot: AtomicU32::new(0),
            name: parts.host_name.0,
            stamps: parts.stamps,
            context: parts
                .context
                .as_ref()
                .map_or(std::ptr::null_mut(), |context| context.get().as_ptr()),
            deadline: u64::try_from(parts.deadline.as_nanos()).unwrap_or(u64::MAX),
            tracestate: State::boxed(parts.tracestate),
            task: AtomicU64::new(0),
        };
        let job = Arc::new(Self {
            raw,
            start: UnsafeCell::new(Some(parts.start)),
            convert: parts.convert,
            outcome: UnsafeCell::new(None),
            callback: UnsafeCell::new(Some(parts.callback)),
            name: parts.name,
            made_at: parts.made_at,
            context: parts.context,
        });
        // SAFETY: the Arc's one reference becomes the JobRef's; `raw` is at offset 0.
        unsafe { JobRef::from_raw(Arc::into_raw(job).cast_mut().cast()) }
    }

    /// # Safety
    /// `job` was made by `allocate` of this very type and is live.
    pub(super) unsafe fn get<'a>(job: *mut RawJob) -> &'a Self {
        // SAFETY: `raw` is at offset 0 of `Self`.
        unsafe { &*job.cast::<Self>() }
    }

    unsafe extern "C" fn start(job: *mut RawJob, error: *mut Obj, report: *mut Report) -> Obj {
        // SAFETY: the host passes a live job of ours.
        let job = unsafe { Self::get(job) };
        // SAFETY: `start` is called at most once, by the host, so nobody else is in the cell.
        let start = unsafe { (*job.start.get()).take() };
        Python::attach(|py| {
            let start = start.expect("a job is started at most once");
            match catch_unwind(AssertUnwindSafe(|| start(py))) {
                Ok(Ok(object)) => object.into_ptr(),
                Ok(Err(StartError::Raised(raised))) => {
                    // SAFETY: the host passes a valid out pointer.
                    unsafe { *error = raised.into_value(py).into_ptr() };
                    std::ptr::null_mut()
                }
                Ok(Err(StartError::Argument(raised))) => {
                    let error =
                        python_error::<T, D>(raised.into_value(py).into_bound(py).into_any());
                    let settled =
                        job.settle_attached(py, Status::ArgumentError, Err(Error::Argument(error)));
                    // SAFETY: the host passes a valid out pointer.
                    unsafe { *report = settled };
                    std::ptr::null_mut()
                }
                Err(payload) => {
                    let outcome = Err(Error::RustPanic(panic_text(&*payload)));
                    // SAFETY: the host passes a valid out pointer.
                    unsafe { *report = job.settle_attached(py, Status::Panic, outcome) };
                    std::ptr::null_mut()
                }
            }
        })
    }

    unsafe extern "C" fn complete(job: *mut RawJob, end: u32, value: Obj) -> Report {
        // SAFETY: the host passes a live job of ours.
        let job = unsafe { Self::get(job) };
        Python::attach(|py| {
            // SAFETY: the host passes a live object and keeps it alive during the call.
            let value = unsafe { Bound::from_borrowed_ptr(py, value) };
            let (status, outcome) = job.outcome_of(end, value);
            job.settle_attached(py, status, outcome)
        })
    }

    fn outcome_of(&self, end: u32, value: Bound<'_, PyAny>) -> (Status, Outcome<T>) {
        match end {
            t::END_RETURNED => match catch_unwind(AssertUnwindSafe(|| (self.convert)(&value))) {
                Ok(Ok(converted)) => (Status::Ok, Ok(converted)),
                Ok(Err(raised)) => {
                    let py = value.py();
                    let error =
                        python_error::<T, D>(raised.into_value(py).into_bound(py).into_any());
                    let value = PyHandle::new(value.unbind());
                    (Status::ResultError, Err(Error::Result { error, value }))
                }
                Err(payload) => (Status::Panic, Err(Error::RustPanic(panic_text(&*payload)))),
            },
            t::END_RAISED => {
                let ended = is_end_of_stream(self.raw.flags, &value);
                let status = if ended { Status::Ok } else { Status::Error };
                (status, Err(Error::Python(python_error::<T, D>(value))))
            }
            t::END_CANCELLED_BY_CALLEE => (
                Status::CancelledByCallee,
                Err(Error::Cancelled {
                    by: CancelledBy::Callee,
                    cause: Some(python_error::<T, D>(value)),
                }),
            ),
            other => (
                status_of_failure(other),
                Err(self.failure(other, 0, t::PHASE_SUSPENDED)),
            ),
        }
    }

    /// The error of an end that carries no Python value.
    fn failure(&self, end: u32, detail: u32, phase: u32) -> Error {
        let cancelled = |by| Error::Cancelled { by, cause: None };
        match end {
            t::END_CANCELLED_BY_CALLER => cancelled(CancelledBy::Caller),
            t::END_CANCELLED_BY_SHUTDOWN => cancelled(CancelledBy::Shutdown),
            t::END_DEADLINE => Error::DeadlineExceeded {
                place: place(phase),
                name: self.name,
                deadline: Duration::from_nanos(self.raw.deadline),
            },
            t::END_QUEUE_FULL => Error::QueueFull,
            _ => Error::stopped(detail),
        }
    }

    unsafe extern "C" fn deliver(job: *mut RawJob) -> Report {
        // SAFETY: the host passes a live job of ours, settled by itself.
        let job = unsafe { Self::get(job) };
        let outcome = if job.claim_stored() {
            job.take_outcome()
        } else {
            None
        };
        let Some(outcome) = outcome else {
            return Report::default();
        };
        if D::WAKES {
            // SAFETY: as whoever claimed the outcome; the callback stays until `wake`.
            let callback = unsafe { (*job.callback.get()).as_mut() };
            let delivered = callback.map_or(Delivered::Nobody, |it| it.publish(outcome));
            return Report {
                status: t::TO_WAKE,
                flags: delivered.flags().0,
            };
        }
        let deliver = || {
            job.take_callback()
                .map(|callback| callback.deliver(outcome))
        };
        let delivered = catch_unwind(AssertUnwindSafe(deliver)).unwrap_or(Some(Delivered::Failed));
        Report {
            status: 0,
            flags: delivered.map_or(0, |delivered| delivered.flags().0),
        }
    }

    unsafe extern "C" fn wake(job: *mut RawJob) {
        // SAFETY: the host passes a live job of ours that it has delivered.
        let job = unsafe { Self::get(job) };
        let callback = job.take_callback();
        // A waker is user code, too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(callback)));
    }

    unsafe extern "C" fn fail(job: *mut RawJob, end: u32, detail: u32) -> bool {
        // SAFETY: the caller passes a live job of ours.
        let job = unsafe { Self::get(job) };
        let phase = job.raw.phase.load(Ordering::Relaxed);
        let bits = match end {
            t::END_DEADLINE => t::DEADLINE | phase << t::DEADLINE_PHASE_SHIFT,
            _ => 0,
        };
        if !job.claim(bits) {
            return false;
        }
        let outcome = Err(job.failure(end, detail, phase));
        let callback = job.take_callback();
        let hand_over = || match callback {
            Some(callback) if end != t::END_REFUSED => {
                callback.deliver_later(outcome);
            }
            unused => drop(unused),
        };
        let _ = catch_unwind(AssertUnwindSafe(|| {
            if D::ATTACHED {
                hand_over();
            } else {
                detached(hand_over);
            }
        }));
        true
    }

    unsafe extern "C" fn retain(job: *mut RawJob) {
        // SAFETY: `job` came from `Arc::into_raw` of this type and is live.
        unsafe { Arc::increment_strong_count(job.cast::<Self>().cast_const()) };
    }

    unsafe extern "C" fn release(job: *mut RawJob) {
        // SAFETY: as in `retain`, and the caller gives one reference back.
        let job = unsafe { Arc::from_raw(job.cast::<Self>().cast_const()) };
        // What the closures captured may run user code in its destructor: a panic must stay here.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(job)));
    }

    unsafe extern "C" fn made_at(job: *mut RawJob, file: *mut t::RawText) -> u32 {
        // SAFETY: the host passes a live job of ours.
        let Some(place) = unsafe { Self::get(job) }.made_at else {
            return 0;
        };
        let text: &'static str = place.file();
        let raw = t::RawText {
            bytes: text.as_ptr(),
            length: text.len(),
        };
        // SAFETY: the host passes a valid out pointer.
        unsafe { file.write(raw) };
        place.line()
    }
}

fn python_error<T, D: Callback<T>>(exception: Bound<'_, PyAny>) -> PythonError {
    PythonError::new(exception, D::TEXT)
}

fn status_of_failure(end: u32) -> Status {
    match end {
        t::END_CANCELLED_BY_CALLER => Status::CancelledByCaller,
        t::END_CANCELLED_BY_SHUTDOWN => Status::CancelledByShutdown,
        t::END_DEADLINE => Status::Deadline,
        t::END_QUEUE_FULL => Status::QueueFull,
        _ => Status::Stopped,
    }
}

/// Whether what a call with these flags raised is the end of its stream, as for `async for`.
pub(crate) fn is_end_of_stream(flags: u32, error: &Bound<'_, PyAny>) -> bool {
    flags & t::JOB_STEP != 0 && error.is_exact_instance_of::<PyStopAsyncIteration>()
}

/// The place a phase stands for.
pub(crate) fn place(phase: u32) -> Place {
    match phase {
        t::PHASE_QUEUED => Place::Queued,
        t::PHASE_POLL => Place::Poll,
        t::PHASE_CLEANUP => Place::Cleanup,
        _ => Place::Suspended,
    }
}
