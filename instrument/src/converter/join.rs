//! Steps and error texts that wait for the fused record of their call.
//!
//! Invariant: bounded: steps are handed out early when too many wait, and what a drop left
//! without an end is found by looking at the slab of open calls.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use crate::error::ErrorText;
use crate::record::{Step, Wake};

/// Steps that wait for one call before they are handed out early.
pub(super) const MAX_PER_CALL: usize = 64;
/// Steps that wait for all calls together.
pub(super) const MAX_WAITING: usize = 1 << 16;
const MAX_EARLY: usize = 1 << 14;

/// Ids are random already.
#[derive(Default)]
pub(super) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

pub(super) type ById<T> = HashMap<u64, T, BuildHasherDefault<IdHasher>>;

/// A step, and who woke the call before it.
pub(super) type Kept = (Step, Option<Wake>);

/// What is known of an open call that was polled more than once, or woken to be.
#[derive(Default)]
pub(super) struct Waiting {
    /// Handle in the slab.
    pub(super) open: u32,
    /// How many steps came, those handed out early included.
    pub(super) steps: u32,
    /// Those not handed out yet; empty while no sink wants spans.
    pub(super) kept: Vec<Kept>,
    /// Who woke it, until the step that follows comes.
    pub(super) wake: Option<Wake>,
}

/// What came through the side lane before its call's end.
pub(super) struct Early<T>(ById<Arc<T>>);

/// Error texts.
pub(super) type Errors = Early<ErrorText>;

impl<T> Default for Early<T> {
    fn default() -> Self {
        Early(ById::default())
    }
}

impl<T> Early<T> {
    /// False if there was no room.
    pub(super) fn insert(&mut self, id: u64, it: Arc<T>) -> bool {
        if self.0.len() >= MAX_EARLY {
            return false;
        }
        self.0.insert(id, it);
        true
    }

    pub(super) fn remove(&mut self, id: u64) -> Option<Arc<T>> {
        self.0.remove(&id)
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = &u64> {
        self.0.keys()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAX_EARLY
    }
}
