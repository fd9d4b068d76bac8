//! Deadlines: they free the caller on time even while Python holds the loop.
//!
//! Invariant: a deadline only claims the outcome; the Python side is then cancelled like any other.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use pyo3::Python;

use super::job::{Callback, Delivered};
use crate::error::Outcome;
use crate::host::table as t;
use crate::host::{HostRef, JobRef};
use crate::tasks::{self, SpawnHandle};

/// A callback whose hand-over stops the deadline's timer.
pub(crate) struct Timed<D> {
    pub(crate) inner: D,
    pub(crate) timer: Timer,
}

/// Stops its task when dropped; empty for calls without a deadline.
#[derive(Clone, Default)]
pub(crate) struct Timer(Option<Arc<OnceLock<Running>>>);

/// A timer's task, which ends with its last owner.
struct Running(SpawnHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Timer {
    pub(crate) fn new(deadline: Option<Duration>) -> Self {
        Self(deadline.map(|_| Arc::default()))
    }

    /// Starts counting. `deadline` runs from now.
    pub(crate) fn start(&self, host: &HostRef, job: &JobRef, deadline: Duration) {
        let Some(slot) = &self.0 else { return };
        if deadline.is_zero() {
            expire(host, job);
            return;
        }
        let (host, job) = (host.clone(), job.clone());
        let timer_host = host.clone();
        let handle = tasks::spawn_ours(&timer_host, async move {
            tasks::sleep_on(&host, deadline).await;
            expire(&host, &job);
        });
        let _ = slot.set(Running(handle));
        // A call that was settled meanwhile dropped its callback before the slot was filled.
        if Arc::strong_count(slot) == 1 {
            self.stop();
        }
    }

    fn stop(&self) {
        if let Some(handle) = self.0.as_ref().and_then(|slot| slot.get()) {
            handle.0.abort();
        }
    }
}

fn expire(host: &HostRef, job: &JobRef) {
    if job.fail(t::END_DEADLINE, 0) {
        job.raw()
            .state
            .fetch_or(t::CANCEL, std::sync::atomic::Ordering::AcqRel);
        host.cancel(job);
    }
}

impl<T, D: Callback<T>> Callback<T> for Timed<D> {
    const ATTACHED: bool = D::ATTACHED;
    const TEXT: bool = D::TEXT;
    const WAKES: bool = D::WAKES;

    fn publish(&mut self, outcome: Outcome<T>) -> Delivered {
        self.timer.stop();
        self.inner.publish(outcome)
    }

    fn deliver(self, outcome: Outcome<T>) -> Delivered {
        self.timer.stop();
        self.inner.deliver(outcome)
    }

    fn deliver_attached(self, py: Python<'_>, outcome: Outcome<T>) -> Delivered {
        self.timer.stop();
        self.inner.deliver_attached(py, outcome)
    }

    fn deliver_later(self, outcome: Outcome<T>) -> Delivered {
        self.timer.stop();
        self.inner.deliver_later(outcome)
    }
}
