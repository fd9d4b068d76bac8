//! Spans kept in memory, for tests and small captures.
//!
//! Invariant: bounded; beyond the bound spans are counted as dropped. The lock is taken only in the
//! process that made it: in a forked child its parent's converter may hold it for ever.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard};

use super::Sink;
use crate::finding::Finding;
use crate::global::lock;
use crate::span::Span;

const DEFAULT_CAPACITY: usize = 1_000_000;

/// The sink; read what it got through its [`MemoryHandle`].
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
}

/// Reads what a [`Memory`] sink got, also while it is attached and after. Any thread; in a forked
/// child there is nothing to read, since the spans are the parent's.
#[derive(Clone, Debug)]
pub struct MemoryHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// The process that made it.
    pid: u32,
    spans: Mutex<Vec<Span>>,
    findings: Mutex<Vec<Finding>>,
    capacity: usize,
    dropped: AtomicU64,
}

impl Memory {
    /// A sink for up to a million spans, and the handle to read them.
    pub fn new() -> (Memory, MemoryHandle) {
        Memory::with_capacity(DEFAULT_CAPACITY)
    }

    /// A sink for up to `capacity` spans, and the handle to read them.
    pub fn with_capacity(capacity: usize) -> (Memory, MemoryHandle) {
        let spans = Mutex::new(Vec::new());
        let shared = Arc::new(Shared {
            pid: std::process::id(),
            spans,
            findings: Mutex::default(),
            capacity,
            dropped: AtomicU64::new(0),
        });
        (
            Memory {
                shared: shared.clone(),
            },
            MemoryHandle { shared },
        )
    }
}

impl MemoryHandle {
    /// A copy of all spans so far; call [`crate::flush`] first to have all that was recorded.
    pub fn spans(&self) -> Vec<Span> {
        self.shared
            .spans()
            .map_or_else(Vec::new, |spans| spans.clone())
    }

    /// All spans so far, which are then forgotten.
    pub fn take(&self) -> Vec<Span> {
        let spans = self.shared.spans();
        spans.map_or_else(Vec::new, |mut spans| std::mem::take(&mut *spans))
    }

    /// A copy of all findings so far, of each problem and function one, and those that were twice as bad.
    pub fn findings(&self) -> Vec<Finding> {
        if self.shared.pid != std::process::id() {
            return Vec::new();
        }
        lock(&self.shared.findings).clone()
    }

    /// How many spans found no room.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

impl Shared {
    /// `None` in a forked child.
    fn spans(&self) -> Option<MutexGuard<'_, Vec<Span>>> {
        (self.pid == std::process::id()).then(|| lock(&self.spans))
    }
}

impl Sink for Memory {
    fn spans(&mut self, batch: &[Span]) {
        let Some(mut spans) = self.shared.spans() else {
            return;
        };
        let room = self
            .shared
            .capacity
            .saturating_sub(spans.len())
            .min(batch.len());
        spans.extend_from_slice(&batch[..room]);
        self.shared
            .dropped
            .fetch_add((batch.len() - room) as u64, Relaxed);
    }

    fn finding(&mut self, finding: &Finding) {
        if self.shared.pid == std::process::id() {
            // Bounded: of each problem and function only what is news comes here.
            lock(&self.shared.findings).push(finding.clone());
        }
    }

    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}
