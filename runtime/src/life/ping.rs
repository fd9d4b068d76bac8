//! A sign of life: a loop is asked for one, and gives it when it takes its messages.
//!
//! Invariant: a ping that nobody answers was not taken by the loop thread; somebody holds it, or it ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use pyo3::prelude::*;

use crate::host::HostRef;

/// When a loop was asked, and whether it answered.
#[derive(Debug)]
pub(crate) struct Ping {
    since: Instant,
    answered: Arc<AtomicBool>,
}

impl Ping {
    /// Asks. `answer` runs attached, and says whether that is an answer: when a loop is given up,
    /// its messages run elsewhere. `None`: the loop has ended.
    pub(crate) fn send(
        host: &HostRef,
        answer: impl FnOnce(Python<'_>) -> bool + Send,
    ) -> Option<Self> {
        let ping = Self {
            since: Instant::now(),
            answered: Arc::default(),
        };
        ping.send_again(host, answer).then_some(ping)
    }

    /// The same question once more, for a loop whose messages may have been taken away.
    pub(crate) fn send_again(
        &self,
        host: &HostRef,
        answer: impl FnOnce(Python<'_>) -> bool + Send,
    ) -> bool {
        let answered = Arc::clone(&self.answered);
        host.post(move |py| {
            // Under the GIL, as is whoever acts on a missing answer.
            if answer(py) {
                answered.store(true, Ordering::Release);
            }
        })
        .is_ok()
    }

    /// For how long there has been no answer; `None` if there was one.
    pub(crate) fn unanswered(&self) -> Option<Duration> {
        (!self.answered.load(Ordering::Acquire)).then(|| self.since.elapsed())
    }
}
