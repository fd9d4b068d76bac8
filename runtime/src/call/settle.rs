//! Whose a call's outcome is: claiming it, storing it for the loop thread, handing it over.
//!
//! Invariant: the callback is the loop thread's or that of the one thread that set `HANDED`, be it with a
//! failure of its own, if nothing had `SETTLED` the job before, or with the outcome that was `STORED`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;

use gilscope_instrument::{Flags, Status};
use pyo3::prelude::*;

use super::job::{Callback, Delivered, Job, Starter};
use crate::attached::detached;
use crate::error::Outcome;
use crate::host::table::{self as t, Report};

impl<S: Starter, T: Send, D: Callback<T>> Job<S, T, D> {
    /// Claims the job for a failure, whose callback is then the caller's, and adds `bits` to its state. If
    /// it was settled before, but its outcome waits for a loop thread that another call may hold, this
    /// hands that over.
    pub(super) fn claim(&self, bits: u32) -> bool {
        let claimed = |state| match state & t::SETTLED {
            0 => Some(state | t::SETTLED | t::HANDED | bits),
            _ => Some(state | t::HANDED),
        };
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        let updated = self.raw.state.fetch_update(set, fetch, claimed);
        let before = updated.unwrap_or_else(|state| state);
        if before & (t::STORED | t::HANDED) == t::STORED {
            self.hand_over_stored();
        }
        before & t::SETTLED == 0
    }

    /// Whether the stored outcome is this thread's to hand over; false if there is none.
    pub(super) fn claim_stored(&self) -> bool {
        let before = self.raw.state.fetch_or(t::HANDED, Ordering::AcqRel);
        before & (t::STORED | t::HANDED) == t::STORED
    }

    #[cold]
    fn hand_over_stored(&self) {
        let outcome = self.take_outcome();
        let callback = self.take_callback();
        let hand_over = || {
            callback
                .zip(outcome)
                .map(|(it, outcome)| it.deliver_later(outcome))
        };
        let _ = catch_unwind(AssertUnwindSafe(|| detached(hand_over)));
    }

    /// The callback, for whoever claimed the job, or its stored outcome.
    pub(super) fn take_callback(&self) -> Option<D> {
        // SAFETY: only the thread that claimed the one or the other comes here.
        unsafe { (*self.callback.get()).take() }
    }

    /// The outcome, for whoever claimed it, or found that it came too late.
    pub(super) fn take_outcome(&self) -> Option<Outcome<T>> {
        // SAFETY: who claims it does so after it was stored, and one that came too late nobody claims.
        unsafe { (*self.outcome.get()).take() }
    }

    /// Settles the job with an outcome that waits for whoever hands it over. False: it was settled.
    fn store(&self, outcome: Outcome<T>) -> bool {
        // SAFETY: only the loop thread comes here, once, and others look once it is `STORED`.
        unsafe { *self.outcome.get() = Some(outcome) };
        let both = t::SETTLED | t::STORED;
        let before = self.raw.state.fetch_or(both, Ordering::AcqRel);
        before & t::SETTLED == 0
    }

    /// Claims and stores, or hands over at once where that must happen attached.
    pub(super) fn settle_attached(
        &self,
        py: Python<'_>,
        status: Status,
        outcome: Outcome<T>,
    ) -> Report {
        let mut flags = Flags::default();
        if !D::ATTACHED {
            if !self.store(outcome) {
                let late = self.take_outcome();
                let _ = catch_unwind(AssertUnwindSafe(|| drop(late)));
                flags = Flags::UNDELIVERED;
            }
        } else if self.claim(0) {
            let callback = self.take_callback();
            let deliver = || callback.map(|it| it.deliver_attached(py, outcome));
            let delivered = catch_unwind(AssertUnwindSafe(deliver));
            let delivered = delivered.unwrap_or(Some(Delivered::Failed));
            flags = delivered.map_or(flags, Delivered::flags);
        } else {
            let _ = catch_unwind(AssertUnwindSafe(|| drop(outcome)));
            flags = Flags::UNDELIVERED;
        }
        Report {
            status: status as u8,
            flags: flags.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

    use std::time::Duration;

    use gilscope_instrument::{CallStamps, Name};

    use super::super::job::{Parts, StartError};
    use super::*;
    use crate::error::Error;
    use crate::host::JobRef;

    type Start = fn(Python<'_>) -> Result<Bound<'_, PyAny>, StartError>;
    type Told = Job<Start, u8, Tell>;

    struct Tell(Sender<Outcome<u8>>);

    impl Callback<u8> for Tell {
        fn deliver(self, outcome: Outcome<u8>) -> Delivered {
            self.0
                .send(outcome)
                .map_or(Delivered::Nobody, |()| Delivered::Yes)
        }
    }

    /// A job, and what its callback is told.
    fn job() -> (JobRef, Receiver<Outcome<u8>>) {
        let (tell, told) = channel();
        let parts = Parts {
            start: (|_| unreachable!("it is settled without a start")) as Start,
            convert: |_| unreachable!("its outcome is made here"),
            callback: Tell(tell),
            flags: 0,
            name: Name::default(),
            host_name: Name::default(),
            deadline: Duration::ZERO,
            stamps: CallStamps::default(),
            tracestate: None,
            context: None,
            made_at: None,
        };
        (Told::allocate(parts), told)
    }

    fn told(job: &JobRef) -> &Told {
        // SAFETY: of this very type, and live while the reference is.
        unsafe { Told::get(job.as_ptr()) }
    }

    /// What the loop thread does once it comes round. Its report says whether it handed over.
    fn deliver(job: &JobRef) -> Report {
        // SAFETY: a live job of ours.
        unsafe { (job.vtable().deliver)(job.as_ptr()) }
    }

    #[test]
    fn x6_what_is_stored_is_handed_over_by_who_comes_first() {
        let (job, came) = job();
        assert!(told(&job).store(Ok(1)));
        assert_eq!(came.try_recv().unwrap_err(), TryRecvError::Empty);
        assert!(!job.fail(t::END_DEADLINE, 0), "it was settled");
        assert!(matches!(came.try_recv(), Ok(Ok(1))));
        deliver(&job);
        assert!(!job.fail(t::END_DEADLINE, 0));
        assert_eq!(came.try_recv().unwrap_err(), TryRecvError::Disconnected);
    }

    #[test]
    fn x6_an_outcome_that_comes_after_a_deadline_is_nobodys() {
        let (job, came) = job();
        assert!(job.fail(t::END_DEADLINE, 0));
        assert!(matches!(
            came.try_recv(),
            Ok(Err(Error::DeadlineExceeded { .. }))
        ));
        assert!(!told(&job).store(Ok(1)));
        assert!(!job.fail(t::END_STOPPED, 0));
        deliver(&job);
        assert_eq!(came.try_recv().unwrap_err(), TryRecvError::Disconnected);
        assert!(
            told(&job).take_outcome().is_some(),
            "left to the loop thread"
        );
    }
}
