//! A bounded single-producer single-consumer ring of 64-byte slots.
//!
//! Invariant: the producer writes only slots the consumer has released, the consumer reads only
//! slots the producer has published; a record of two slots is published at once or not at all.

use std::cell::Cell;

use crate::sync::{Arc, AtomicU64, AtomicUsize, Ordering, UnsafeCell};

/// The words of one slot.
pub type Words = [u64; 8];

#[repr(C, align(64))]
struct Slot(UnsafeCell<Words>);

/// Keeps what the two sides write on different pairs of cache lines.
#[repr(align(128))]
struct Pad<T>(T);

struct Ring {
    slots: Box<[Slot]>,
    mask: usize,
    head: Pad<AtomicUsize>,
    tail: Pad<AtomicUsize>,
    dropped: Pad<AtomicU64>,
}

// SAFETY: slots are written by the one producer before `head` is released and read by the one
// consumer after `head` is acquired; `tail` hands them back the same way.
unsafe impl Sync for Ring {}
// SAFETY: plain words.
unsafe impl Send for Ring {}

/// What became of a push.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pushed {
    /// Stored.
    Stored,
    /// Stored, and a quarter of the ring was completed: wake the consumer.
    Quarter,
    /// No room; counted.
    Full,
}

/// The writing end. One thread at a time.
pub struct Producer {
    ring: Arc<Ring>,
    head: Cell<usize>,
    tail: Cell<usize>,
}

/// The reading end. One thread at a time.
pub struct Consumer {
    ring: Arc<Ring>,
    tail: usize,
}

/// A ring of `capacity` slots, which must be a power of two of at least 4.
pub fn ring(capacity: usize) -> (Producer, Consumer) {
    assert!(capacity.is_power_of_two() && capacity >= 4, "ring capacity");
    let slots = (0..capacity)
        .map(|_| Slot(UnsafeCell::new([0; 8])))
        .collect();
    let ring = Arc::new(Ring {
        slots,
        mask: capacity - 1,
        head: Pad(AtomicUsize::new(0)),
        tail: Pad(AtomicUsize::new(0)),
        dropped: Pad(AtomicU64::new(0)),
    });
    let producer = Producer {
        ring: ring.clone(),
        head: Cell::new(0),
        tail: Cell::new(0),
    };
    (producer, Consumer { ring, tail: 0 })
}

impl Producer {
    /// Stores a record of `N` slots, or counts it as dropped.
    #[inline(always)]
    pub fn push<const N: usize>(&self, record: [Words; N]) -> Pushed {
        let ring = &*self.ring;
        let head = self.head.get();
        if head.wrapping_add(N).wrapping_sub(self.tail.get()) > ring.mask + 1 && !self.room(N) {
            return Pushed::Full;
        }
        for (offset, words) in record.into_iter().enumerate() {
            let slot = &ring.slots[head.wrapping_add(offset) & ring.mask];
            // SAFETY: the slot lies at or above `head` and less than a ring above `tail`, so the
            // consumer does not read it.
            slot.0.with_mut(|at| unsafe { *at = words });
        }
        let next = head.wrapping_add(N);
        self.head.set(next);
        ring.head.0.store(next, Ordering::Release);
        let quarter = (ring.mask + 1) / 4;
        if (head & (quarter - 1)) + N >= quarter {
            Pushed::Quarter
        } else {
            Pushed::Stored
        }
    }

    #[cold]
    fn room(&self, n: usize) -> bool {
        let ring = &*self.ring;
        self.tail.set(ring.tail.0.load(Ordering::Acquire));
        let free = self
            .head
            .get()
            .wrapping_add(n)
            .wrapping_sub(self.tail.get())
            <= ring.mask + 1;
        if !free {
            let dropped = &ring.dropped.0;
            // Only the producer writes it.
            dropped.store(dropped.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
        free
    }
}

impl Consumer {
    /// Up to where records are published now.
    pub fn published(&self) -> usize {
        self.ring.head.0.load(Ordering::Acquire)
    }

    /// The next slot below `until` (a value of [`Consumer::published`]), still owned by the ring
    /// until [`Consumer::release`].
    #[inline]
    pub fn next(&mut self, until: usize) -> Option<Words> {
        if self.tail == until {
            return None;
        }
        let slot = &self.ring.slots[self.tail & self.ring.mask];
        // SAFETY: the slot is below a published head and not yet released.
        let words = slot.0.with(|at| unsafe { *at });
        self.tail = self.tail.wrapping_add(1);
        Some(words)
    }

    /// Hands all slots read so far back to the producer.
    #[inline]
    pub fn release(&self) {
        self.ring.tail.0.store(self.tail, Ordering::Release);
    }

    /// How many slots were read since the ring was made.
    pub fn position(&self) -> usize {
        self.tail
    }

    /// How many records found no room.
    pub fn dropped(&self) -> u64 {
        self.ring.dropped.0.load(Ordering::Relaxed)
    }
}
