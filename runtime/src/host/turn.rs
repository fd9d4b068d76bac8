//! A place in the line for room in a full queue.
//!
//! Invariant: when its turn has come the call is submitted by whoever gave the room, not by its caller,
//! who may not be polled for a long time and would keep everybody behind it waiting. Exactly one side
//! submits the call or takes it out of the line.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures_util::task::AtomicWaker;
use gilscope_instrument::{Name, Status};

use super::{HostRef, JobRef};
use crate::attached::detached;
use crate::host::table as t;
use crate::loop_thread::stop::status_without_end;

/// `Place::number`: `reserve` has not returned yet.
const UNKNOWN: u64 = 0;
/// `Place::number`: the turn has come, and whoever said so submits, if the number was known.
const WOKEN: u64 = u64::MAX;
/// `Place::number`: the caller has gone.
const LEFT: u64 = u64::MAX - 1;

/// `Place::end`: not submitted yet.
const PENDING: u8 = 0;
/// `Place::end`: the queue has the call.
const TAKEN: u8 = 1;
/// `Place::end`: the runtime takes no more calls.
const REFUSED: u8 = 2;
/// `Place::end`: the caller went while the call was being submitted.
const ABANDONED: u8 = 3;

struct Place {
    host: HostRef,
    job: JobRef,
    number: AtomicU64,
    end: AtomicU8,
    waker: AtomicWaker,
}

impl Place {
    fn submit(&self, number: u64) {
        let end = match self.host.submit(self.job.clone(), number) {
            Ok(()) => TAKEN,
            Err(_) => {
                // SAFETY: the number is from `reserve` of this host.
                unsafe { (self.host.0.unreserve)(self.host.0.ctx, number) };
                REFUSED
            }
        };
        if self.end.swap(end, Ordering::AcqRel) == ABANDONED && end == REFUSED {
            let end = (t::END_CANCELLED_BY_CALLER, 0);
            self.host
                .withdraw(&self.job, end, Status::CancelledByCaller);
        }
    }
}

/// See the module's text. To be left by [`leave`](Self::leave) unless it has ended.
pub(crate) struct Turn(Arc<Place>);

impl Turn {
    /// Gets in line with a call.
    pub(crate) fn wait(host: &HostRef, job: &JobRef) -> Self {
        let place = Arc::new(Place {
            host: host.clone(),
            job: job.clone(),
            number: AtomicU64::new(UNKNOWN),
            end: AtomicU8::new(PENDING),
            waker: AtomicWaker::new(),
        });
        let wake = t::RawWake {
            data: Arc::into_raw(Arc::clone(&place)).cast_mut().cast(),
            wake: come,
            drop: forget,
        };
        // SAFETY: the host copies the struct and calls one of its functions once.
        let number = unsafe { (host.0.reserve)(host.0.ctx, &raw const wake) };
        let known =
            place
                .number
                .compare_exchange(UNKNOWN, number, Ordering::AcqRel, Ordering::Acquire);
        if known.is_err() {
            place.submit(number); // the turn came before the number was known
        }
        Self(place)
    }

    /// Ready once the call was submitted; false: the runtime refused it.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<bool> {
        self.0.waker.register(context.waker());
        match self.0.end.load(Ordering::Acquire) {
            PENDING => Poll::Pending,
            end => Poll::Ready(end == TAKEN),
        }
    }

    /// Leaves the line. True: too late, the queue has the call or is about to; false: it is out of the
    /// line, and the caller's to end.
    pub(crate) fn leave(&self) -> bool {
        match self.0.number.swap(LEFT, Ordering::AcqRel) {
            WOKEN => self.0.end.swap(ABANDONED, Ordering::AcqRel) != REFUSED,
            number => {
                let host = &self.0.host;
                // SAFETY: the number is from `reserve` of this host.
                unsafe { (host.0.unreserve)(host.0.ctx, number) };
                false
            }
        }
    }
}

unsafe extern "C" fn come(data: *mut c_void) {
    // SAFETY: made by `Arc::into_raw` in `wait`; one of `come` and `forget` runs, once.
    let place = unsafe { Arc::from_raw(data.cast::<Place>().cast_const()) };
    match place.number.swap(WOKEN, Ordering::AcqRel) {
        UNKNOWN => return, // `wait` goes on by itself
        LEFT => return,
        number => place.submit(number),
    }
    // A waker is user code: it runs without the GIL and must not unwind into C.
    let _ = catch_unwind(AssertUnwindSafe(|| detached(|| place.waker.wake())));
}

unsafe extern "C" fn forget(data: *mut c_void) {
    // SAFETY: as in `come`.
    drop(unsafe { Arc::from_raw(data.cast::<Place>().cast_const()) });
}

impl HostRef {
    /// Ends a call that never reached the queue, by an end and its detail, and its span. False: it was
    /// settled before, by a deadline or by its handle.
    pub(crate) fn withdraw(&self, job: &JobRef, end: (u32, u32), status: Status) -> bool {
        let raw = job.raw();
        let ours = job.fail(end.0, end.1);
        let status = if ours {
            status
        } else {
            status_without_end(job)
        };
        self.refused(&raw.stamps, Name(raw.name), status);
        ours
    }
}
