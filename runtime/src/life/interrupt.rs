//! At exit: getting user code that holds a loop out of it, by `SystemExit`.
//!
//! Invariant: only a loop thread that does not answer is interrupted, and one that answers has no
//! interrupt pending any more: code that awaits, as a stop hook does, runs to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use super::ping::Ping;
use crate::loop_thread::shared::Shared;
use crate::loop_thread::state::current;

/// How long an interrupted loop thread gets before it is interrupted again.
const EVERY: Duration = Duration::from_millis(50);

/// How long a loop may be without an answer until it counts as held.
const PATIENCE: Duration = Duration::from_millis(500);

/// How long all of it may take.
const DEADLINE: Duration = Duration::from_millis(1500);

/// A runtime that is to end, and what its loop was asked last.
pub(crate) struct Asked {
    shared: Arc<Shared>,
    ping: Option<Ping>,
}

/// Asks loops for a sign of life, before they are told to stop: those that have given none when their
/// time is up are held.
pub(crate) fn ask(runtimes: &[Arc<Shared>]) -> Vec<Asked> {
    runtimes.iter().map(Asked::new).collect()
}

/// Interrupts loop threads that do not answer, until all have ended or the time is up.
pub(crate) fn get_out(py: Python<'_>, mut left: Vec<Asked>) {
    let end = Instant::now() + DEADLINE;
    // Those that were given up have lost their messages, and one that is let go just now has as long
    // for its answer as any.
    left.iter_mut().for_each(Asked::renew);
    loop {
        let until = Instant::now() + EVERY;
        py.detach(|| left.retain(|asked| !asked.shared.wait_ended(Some(until))));
        if left.is_empty() || until > end {
            return;
        }
        for asked in &mut left {
            asked.interrupt_if_held(py);
        }
    }
}

impl Asked {
    fn new(shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        let ping = Ping::send(&shared.host(), answer(shared.id));
        Self { shared, ping }
    }

    /// Asks afresh.
    fn renew(&mut self) {
        *self = Self::new(&self.shared);
        self.ring();
    }

    /// Asks the same once more: whoever gives the loop up takes its messages away.
    fn repeat(&self) {
        if let Some(ping) = &self.ping {
            ping.send_again(&self.shared.host(), answer(self.shared.id));
            self.ring();
        }
    }

    /// Since its messages were taken away the list may count as awake, and would not ring by itself.
    fn ring(&self) {
        self.shared.inbox.bell().ring();
    }

    fn interrupt_if_held(&mut self, py: Python<'_>) {
        let Some(ping) = &self.ping else { return };
        let held = || ping.unanswered().is_some_and(|silence| silence >= PATIENCE);
        if held() {
            self.shared.interrupt(py, held);
            self.repeat();
        } else if ping.unanswered().is_none() {
            self.renew();
        }
    }
}

/// What the loop thread does when it is asked: it holds nothing, so an interrupt that has not reached
/// it is for nobody.
fn answer(id: u64) -> impl FnOnce(Python<'_>) -> bool + Send {
    move |py| {
        let here = current().filter(|state| state.shared.id == id);
        here.inspect(|state| state.shared.forget_interrupt(py))
            .is_some()
    }
}
