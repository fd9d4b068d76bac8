//! What a loop thread does as a whole: waits for events, waits for the GIL, or runs a turn.
//!
//! Invariant: one word, written by the loop thread only, so that any thread reads it whole.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The low bits of the word; the rest are ticks.
const BITS: u32 = 2;

/// What a loop thread does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Doing {
    /// Not known: nothing was recorded yet, or the loop's wait is not gilscope's own.
    Unknown,
    /// Waits for events, detached.
    Waiting,
    /// Has something to do, and waits for the GIL.
    GilWait,
    /// Attached.
    Turn,
}

impl Doing {
    /// The word for it; `None` where nothing is known.
    pub(crate) const fn as_str(self) -> Option<&'static str> {
        match self {
            Doing::Unknown => None,
            Doing::Waiting => Some("waiting"),
            Doing::GilWait => Some("gil.wait"),
            Doing::Turn => Some("loop.turn"),
        }
    }
}

/// What a loop thread does, and since when.
#[derive(Default)]
pub(crate) struct DoingSince(AtomicU64);

impl DoingSince {
    /// Loop thread only.
    #[inline(always)]
    pub(crate) fn set(&self, doing: Doing, since: u64) {
        self.0.store(since << BITS | doing as u64, Relaxed);
    }

    /// Any thread.
    pub(crate) fn get(&self) -> (Doing, u64) {
        let word = self.0.load(Relaxed);
        let doing = match word & ((1 << BITS) - 1) {
            0 => Doing::Unknown,
            1 => Doing::Waiting,
            2 => Doing::GilWait,
            _ => Doing::Turn,
        };
        (doing, word >> BITS)
    }
}

#[cfg(test)]
mod tests {
    use super::{Doing, DoingSince};

    #[test]
    fn what_is_set_is_read() {
        let word = DoingSince::default();
        assert_eq!(word.get(), (Doing::Unknown, 0));
        for doing in [Doing::Waiting, Doing::GilWait, Doing::Turn, Doing::Unknown] {
            word.set(doing, 1 << 60 | 3);
            assert_eq!(word.get(), (doing, 1 << 60 | 3));
        }
    }
}
