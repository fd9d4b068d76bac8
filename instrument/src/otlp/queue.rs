//! Spans on their way from the converter to the export thread.
//!
//! Invariant: never more spans than its capacity, and the one who puts never waits for the one who
//! takes longer than a copy takes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use crate::span::Span;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Queue {
    capacity: usize,
    state: Mutex<State>,
    /// There is enough to take, or it is being closed. One waits.
    changed: Notify,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<Span>,
    /// Until when the rest is to be sent: nothing comes in any more.
    closing: Option<Instant>,
}

impl Queue {
    pub(super) fn new(capacity: usize) -> Queue {
        Queue {
            capacity,
            state: Mutex::default(),
            changed: Notify::new(),
        }
    }

    /// Takes as many as have room; returns how many had not. `enough` in the queue wake the other side.
    pub(super) fn put<'a>(&self, spans: impl Iterator<Item = &'a Span>, enough: usize) -> usize {
        let mut state = self.lock();
        let before = state.spans.len();
        let mut full = 0;
        for span in spans {
            if state.spans.len() < self.capacity && state.closing.is_none() {
                state.spans.push_back(span.clone());
            } else {
                full += 1;
            }
        }
        let wakes = before < enough && state.spans.len() >= enough;
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
        full
    }

    /// At most `most` spans: once there are as many, once `delay` has passed, when there may be none, or
    /// at once when it is being closed. `None`: it is, and nothing is left.
    pub(super) async fn take(&self, most: usize, delay: Duration) -> Option<Vec<Span>> {
        let enough = async {
            while self.waits(most) {
                self.changed.notified().await;
            }
        };
        // After the delay it is taken what there is.
        let _ = tokio::time::timeout(delay, enough).await;
        let mut state = self.lock();
        if state.spans.is_empty() && state.closing.is_some() {
            return None;
        }
        let most = most.min(state.spans.len());
        Some(state.spans.drain(..most).collect())
    }

    /// Nothing comes in any more; what is there is to be sent until then.
    pub(super) fn close(&self, until: Instant) {
        self.lock().closing.get_or_insert(until);
        self.changed.notify_one();
    }

    fn waits(&self, most: usize) -> bool {
        let state = self.lock();
        state.spans.len() < most && state.closing.is_none()
    }

    /// Until when, if it is being closed.
    pub(super) fn closing(&self) -> Option<Instant> {
        self.lock().closing
    }

    /// Takes everything; for who gives up.
    pub(super) fn empty(&self) -> usize {
        std::mem::take(&mut self.lock().spans).len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
