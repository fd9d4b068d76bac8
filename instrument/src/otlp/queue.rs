//! Spans on their way from the converter to the export thread.
//!
//! Invariant: never more spans than its capacity, nor more bytes than its budget, those that are being
//! sent included; and the one who puts never waits for the one who takes longer than a copy takes.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::size;
use crate::span::Span;

/// See the module's text.
#[derive(Debug)]
pub(super) struct Queue {
    /// In spans.
    capacity: usize,
    /// In bytes.
    budget: usize,
    state: Mutex<State>,
    /// There is enough to take, or it is being closed. One waits.
    changed: Notify,
    /// It is being closed. Another one waits.
    closed: Notify,
}

#[derive(Debug, Default)]
struct State {
    spans: VecDeque<Span>,
    /// Their bytes.
    waiting: usize,
    /// The bytes of those that were taken last: who took them holds them until it takes again.
    taken: usize,
    /// Until when what comes in is sent.
    end: Option<Instant>,
    /// Nothing comes in any more.
    closing: bool,
}

impl Queue {
    pub(super) fn new(capacity: usize, budget: usize) -> Queue {
        Queue {
            capacity,
            budget,
            state: Mutex::default(),
            changed: Notify::new(),
            closed: Notify::new(),
        }
    }

    /// Takes as many as have room; returns how many had not. `enough` in the queue wake the other side.
    pub(super) fn put<'a>(&self, spans: impl Iterator<Item = &'a Span>, enough: usize) -> usize {
        let mut state = self.lock();
        let before = self.has_enough(&state, enough);
        let mut full = 0;
        for span in spans {
            let bytes = size::of(span);
            let fits = state.waiting + state.taken + bytes <= self.budget;
            if fits && state.spans.len() < self.capacity && !state.closing {
                state.spans.push_back(span.clone());
                state.waiting += bytes;
            } else {
                full += 1;
            }
        }
        let wakes = !before && self.has_enough(&state, enough);
        drop(state);
        if wakes {
            self.changed.notify_one();
        }
        full
    }

    /// How many more spans it has room for, if they are small.
    pub(super) fn room(&self) -> usize {
        let state = self.lock();
        let none = state.closing || state.waiting + state.taken >= self.budget;
        if none {
            0
        } else {
            self.capacity - state.spans.len()
        }
    }

    /// At most `most` spans: once there are as many, or half of the budget is used up; once `delay` has
    /// passed, when there may be none, or at once when it is being closed. `None`: it is, and nothing is
    /// left. The spans that were taken before are done with.
    pub(super) async fn take(&self, most: usize, delay: Duration) -> Option<Vec<Span>> {
        self.lock().taken = 0;
        let enough = async {
            while self.waits(most) {
                self.changed.notified().await;
            }
        };
        // After the delay it is taken what there is.
        let _ = tokio::time::timeout(delay, enough).await;
        let mut state = self.lock();
        if state.spans.is_empty() && state.closing {
            return None;
        }
        let most = most.min(state.spans.len());
        let spans: Vec<_> = state.spans.drain(..most).collect();
        state.taken = spans.iter().map(size::of).sum();
        state.waiting -= state.taken;
        Some(spans)
    }

    /// It is to be closed soon: what is there and still comes in is sent until then, or until what was said
    /// first; which that is.
    pub(super) fn end_by(&self, end: Instant) -> Instant {
        *self.lock().end.get_or_insert(end)
    }

    /// Nothing comes in any more.
    pub(super) fn close(&self) {
        self.lock().closing = true;
        self.changed.notify_one();
        self.closed.notify_one();
    }

    /// Ready once it is being closed; for one who waits, once.
    pub(super) async fn closed(&self) {
        self.closed.notified().await;
    }

    fn waits(&self, most: usize) -> bool {
        let state = self.lock();
        !self.has_enough(&state, most) && !state.closing
    }

    fn has_enough(&self, state: &State, most: usize) -> bool {
        state.spans.len() >= most || state.waiting >= self.budget / 2
    }

    /// Until when it is sent what there is, if it is to be closed.
    pub(super) fn end(&self) -> Option<Instant> {
        self.lock().end
    }

    /// Takes everything; for who gives up.
    pub(super) fn empty(&self) -> usize {
        let mut state = self.lock();
        state.waiting = 0;
        std::mem::take(&mut state.spans).len()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::notes::{Notes, Value};
    use crate::otlp::encode::tests::sample;
    use crate::span::SpanKind;

    const LONG: Duration = Duration::from_secs(30);
    const BUDGET: usize = 10_000;

    /// A span of a little more than 4,000 bytes, of which a queue has room for two.
    fn large(id: u64) -> Span {
        let mut notes = Notes::default();
        notes.set("said", Value::Text("x".repeat(4_000)));
        Span {
            notes: Some(Arc::new(notes)),
            ..sample(SpanKind::Call, id)
        }
    }

    fn ids(spans: &[Span]) -> Vec<u64> {
        spans.iter().map(|span| span.id).collect()
    }

    fn run(work: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.enable_all().build().expect("a runtime");
        runtime.block_on(work);
    }

    #[test]
    fn bytes_are_bounded_those_that_are_being_sent_included() {
        run(async {
            let queue = Queue::new(100, BUDGET);
            let spans: Vec<_> = (1..=5).map(large).collect();
            assert_eq!(queue.put(spans[..3].iter(), 100), 1);
            // What is small still has room.
            let small = sample(SpanKind::Ready, 9);
            assert_eq!(queue.put([&small].into_iter(), 100), 0);
            let first = queue.take(2, LONG).await.expect("spans");
            assert_eq!(ids(&first), [1, 2]);
            assert_eq!(queue.put(spans[3..].iter(), 100), 2, "they are being sent");
            queue.close();
            assert_eq!(ids(&queue.take(2, LONG).await.expect("spans")), [9]);
            assert!(queue.take(2, LONG).await.is_none());
        });
    }

    #[test]
    fn what_was_sent_makes_room() {
        run(async {
            let queue = Queue::new(100, BUDGET);
            let spans: Vec<_> = (1..=4).map(large).collect();
            let (first, second) = spans.split_at(2);
            assert_eq!(queue.put(first.iter(), 2), 0);
            assert_eq!(ids(&queue.take(2, LONG).await.expect("spans")), [1, 2]);
            // Who waits for the next has sent these.
            let put = async { queue.put(second.iter(), 2) };
            let (taken, full) = tokio::join!(queue.take(2, LONG), put);
            assert_eq!((ids(&taken.expect("spans")), full), (vec![3, 4], 0));
            let none = queue.take(2, Duration::ZERO).await.expect("none");
            assert!(none.is_empty());
            assert_eq!(queue.put(first.iter(), 2), 0);
            assert_eq!(queue.empty(), 2);
            assert_eq!(queue.put(second.iter(), 2), 0);
        });
    }

    #[test]
    fn half_of_the_bytes_are_taken_though_the_spans_are_few() {
        run(async {
            let queue = Arc::new(Queue::new(100, BUDGET));
            let taken = queue.clone();
            let taken = async move { taken.take(50, LONG).await };
            let put = async {
                tokio::task::yield_now().await;
                queue.put([large(1), large(2)].iter(), 50);
            };
            let both = async { tokio::join!(taken, put).0 };
            let taken = tokio::time::timeout(LONG / 2, both).await;
            assert_eq!(ids(&taken.expect("it is woken").expect("spans")), [1, 2]);
        });
    }
}
