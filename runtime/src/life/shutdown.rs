//! Shutdown: drain, cancel or abort, with a deadline; idempotent, from anywhere.
//!
//! Invariant: after the deadline every caller has an outcome, even if Python still holds the loop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::error::Stopped;
use crate::host::table as t;
use crate::loop_thread::shared::Shared;

/// What happens to calls that are not finished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ShutdownMode {
    /// Queued and running calls finish; after the deadline they are cancelled.
    Drain,
    /// Queued calls get [`RuntimeStopped`](crate::Error::RuntimeStopped), running ones are
    /// cancelled and may clean up until the deadline.
    Cancel,
    /// Every caller gets `RuntimeStopped` at once; nobody waits for cleanup.
    Abort,
}

/// What a shutdown met and did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShutdownReport {
    /// Calls queued or running when it began.
    pub pending: usize,
    /// Calls that still were when the deadline passed: their callers were freed regardless.
    pub abandoned: usize,
    /// Whether the loop thread has ended. False on the loop thread itself, or if Python holds it.
    pub joined: bool,
}

/// How long an abort waits for the loop thread by itself.
const ABORT_GRACE: Duration = Duration::from_millis(500);

/// Refuses new calls and tells the loop thread. Returns how many calls are unfinished.
pub(crate) fn request(shared: &Arc<Shared>, mode: ShutdownMode) -> usize {
    let pending = shared.pending();
    shared.begin_stop();
    let host = shared.host();
    // Refused only if the loop has gone, and then there is nothing left to tell it.
    let _ = host.post(move |py| {
        if let Some(state) = crate::loop_thread::state::current() {
            state.begin_shutdown(py, mode);
        }
    });
    pending
}

/// The whole shutdown, detached. On the loop thread itself it only requests.
pub(crate) fn run(
    shared: &Arc<Shared>,
    mode: ShutdownMode,
    deadline: Option<Duration>,
) -> ShutdownReport {
    let report = stop(shared, mode, deadline);
    if report.joined {
        // What the loop thread could not hand over any more is with the courier.
        let _ = super::courier::flush();
    }
    report
}

fn stop(shared: &Arc<Shared>, mode: ShutdownMode, deadline: Option<Duration>) -> ShutdownReport {
    if shared.is_forked() {
        // The loop thread is the parent's; here it never was.
        return ShutdownReport {
            joined: true,
            ..Default::default()
        };
    }
    let mut report = ShutdownReport {
        pending: request(shared, mode),
        ..Default::default()
    };
    if shared.on_loop_thread() {
        return report;
    }
    let until = |from: Instant, wait: Duration| from.checked_add(wait);
    let end = match (mode, deadline) {
        (ShutdownMode::Abort, None) => until(Instant::now(), ABORT_GRACE),
        (_, Some(deadline)) => until(Instant::now(), deadline),
        (_, None) => None,
    };
    if shared.wait_ended(end) {
        report.joined = true;
        return report;
    }
    // Escalate: a drain that took too long is cancelled, a cancel is aborted, and if the loop
    // thread does not answer (somebody's code holds it) the callers are freed from here.
    if mode == ShutdownMode::Drain {
        let _ = request(shared, ShutdownMode::Cancel);
        report.joined = shared.wait_ended(until(Instant::now(), ABORT_GRACE));
    }
    if !report.joined {
        report.abandoned = shared.pending();
        let _ = request(shared, ShutdownMode::Abort);
        report.joined = shared.wait_ended(until(Instant::now(), ABORT_GRACE));
    }
    if !report.joined {
        give_up(shared);
    }
    report
}

/// Frees the callers of a loop that somebody's code holds.
fn give_up(shared: &Arc<Shared>) {
    let open = shared.open_calls();
    shared.fail_everything(t::END_STOPPED, Stopped::Shutdown as u32);
    let given_up = open.iter().map(crate::loop_thread::stop::given_up);
    gilscope_instrument::abandon(shared.number(), given_up.collect());
    // That took the requests along; the loop thread must find one once it is let go.
    let _ = request(shared, ShutdownMode::Abort);
    shared.inbox.bell().ring();
}

/// Cancels on all of them at once, and aborts those that take longer, detached: many runtimes take no
/// longer than one does.
pub(crate) fn run_all(runtimes: &[Arc<Shared>], deadline: Duration) {
    let mut left: Vec<_> = runtimes.iter().collect();
    for (mode, wait) in [
        (ShutdownMode::Cancel, deadline),
        (ShutdownMode::Abort, ABORT_GRACE),
    ] {
        for shared in &left {
            let _ = request(shared, mode);
        }
        let end = Instant::now() + wait;
        left.retain(|shared| !shared.wait_ended(Some(end)));
    }
    left.into_iter().for_each(give_up);
}
