//! Spans kept in memory, for tests and small captures.
//!
//! Invariant: bounded; beyond the bound spans are counted as dropped.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};

use super::Sink;
use crate::global::lock;
use crate::span::Span;

const DEFAULT_CAPACITY: usize = 1_000_000;

/// The sink; read what it got through its [`MemoryHandle`].
#[derive(Debug)]
pub struct Memory {
    shared: Arc<Shared>,
}

/// Reads what a [`Memory`] sink got, also while it is attached and after. Any thread.
#[derive(Clone, Debug)]
pub struct MemoryHandle {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    spans: Mutex<Vec<Span>>,
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
            spans,
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
        lock(&self.shared.spans).clone()
    }

    /// All spans so far, which are then forgotten.
    pub fn take(&self) -> Vec<Span> {
        std::mem::take(&mut *lock(&self.shared.spans))
    }

    /// How many spans found no room.
    pub fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}

impl Sink for Memory {
    fn spans(&mut self, batch: &[Span]) {
        let mut spans = lock(&self.shared.spans);
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

    fn close(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn dropped(&self) -> u64 {
        self.shared.dropped.load(Relaxed)
    }
}
