//! What was not exported, by reason.
//!
//! Invariant: a span is counted at most once, by one reason.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Why a span was lost.
#[cfg(feature = "otlp")]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Why {
    /// The queue was full: the collector is slower than the calls.
    Queue,
    /// The collector did not take it, however often it was tried.
    Failed,
    /// The collector took the request, but not this span of it.
    Rejected,
    /// The exporter was closed before its turn came.
    Closed,
}

/// Spans that were not exported though they were to be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lost {
    /// They found the queue full: the collector is slower than the calls.
    pub queue_full: u64,
    /// The collector did not take them, however often it was tried, or refused them for good.
    pub export_failed: u64,
    /// The collector took their request, but not them.
    pub rejected: u64,
    /// The exporter was closed before their turn came.
    pub closed: u64,
}

impl Lost {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.queue_full + self.export_failed + self.rejected + self.closed
    }

    /// Each reason and its count.
    pub fn by_reason(&self) -> [(&'static str, u64); 4] {
        [
            ("queue_full", self.queue_full),
            ("export_failed", self.export_failed),
            ("rejected", self.rejected),
            ("closed", self.closed),
        ]
    }

    /// How many, and what became of them: "3 found the queue full, 4 were …"; `None`: of none.
    pub fn in_words(&self) -> Option<String> {
        let said = [
            (self.queue_full, "found the queue full"),
            (self.export_failed, "were in requests that failed"),
            (self.rejected, "were rejected by the collector"),
            (self.closed, "were left when the time to close was over"),
        ];
        let said = said.into_iter().filter(|(count, _)| *count != 0);
        let said: Vec<_> = said
            .map(|(count, what)| format!("{count} {what}"))
            .collect();
        (!said.is_empty()).then(|| said.join(", "))
    }

    pub(crate) fn since(&self, base: &Lost) -> Lost {
        Lost {
            queue_full: self.queue_full.saturating_sub(base.queue_full),
            export_failed: self.export_failed.saturating_sub(base.export_failed),
            rejected: self.rejected.saturating_sub(base.rejected),
            closed: self.closed.saturating_sub(base.closed),
        }
    }
}

/// Counts them. Any thread, no lock.
#[derive(Debug, Default)]
pub(crate) struct Counts([AtomicU64; 4]);

impl Counts {
    #[cfg(feature = "otlp")]
    pub(crate) fn add(&self, why: Why, spans: usize) {
        self.0[why as usize].fetch_add(spans as u64, Relaxed);
    }

    pub(crate) fn get(&self) -> Lost {
        let [queue_full, export_failed, rejected, closed] =
            [0, 1, 2, 3].map(|why: usize| self.0[why].load(Relaxed));
        Lost {
            queue_full,
            export_failed,
            rejected,
            closed,
        }
    }
}
