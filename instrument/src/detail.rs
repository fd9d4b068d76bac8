//! How much is recorded, for the whole process.
//!
//! Invariant: asking costs one relaxed load, so that recording is free when it is off.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// How much is recorded.
#[repr(u8)]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, PartialOrd, Ord)]
pub enum Detail {
    /// Nothing.
    Off = 0,
    /// One span per call, with the total of each of its parts.
    Call = 1,
    /// Every span.
    Full = 2,
}

static DETAIL: AtomicU8 = AtomicU8::new(Detail::Full as u8);

/// What is recorded now. `Full` unless it was changed.
#[inline]
pub fn detail() -> Detail {
    match DETAIL.load(Relaxed) {
        0 => Detail::Off,
        1 => Detail::Call,
        _ => Detail::Full,
    }
}

/// Changes what is recorded. Calls that are open keep the detail they were opened with.
pub fn set_detail(detail: Detail) {
    DETAIL.store(detail as u8, Relaxed);
}

/// Is anything recorded?
#[inline]
pub fn enabled() -> bool {
    DETAIL.load(Relaxed) != Detail::Off as u8
}
